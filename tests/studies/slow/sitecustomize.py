"""Makes every step of a vLLM worker longer by a known time, on the GPU, as a slower kernel would.

Waiting on the CPU would not do: vLLM schedules a step while the GPU works on the one before, which hides 0.2 ms.
Python imports this module at its start where the folder is on PYTHONPATH. `STUDY_STEP_DELAY_US` are microseconds.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any

WORKER = "vllm.v1.worker.gpu_worker"


def cycles_per_second(torch: Any) -> float:
    """How fast a kernel that only waits counts."""
    cycles = 50_000_000
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(cycles)
    begin.record()
    torch.cuda._sleep(cycles)
    end.record()
    torch.cuda.synchronize()
    return float(cycles / (begin.elapsed_time(end) * 1e-3))


class SlowLoader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: Any) -> ModuleType | None:
        return self.loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        worker: Any = module.Worker
        step, delay = worker.execute_model, float(os.environ["STUDY_STEP_DELAY_US"]) * 1e-6

        def slow(self: Any, *arguments: Any, **keywords: Any) -> Any:
            torch: Any = sys.modules["torch"]
            if not hasattr(self, "study_cycles"):
                self.study_cycles = round(delay * cycles_per_second(torch))
            torch.cuda._sleep(self.study_cycles)
            return step(self, *arguments, **keywords)

        worker.execute_model = slow


class SlowFinder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != WORKER:
            return None
        sys.meta_path.remove(self)
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is not None:
            found.loader = SlowLoader(found.loader)
        return found


if os.environ.get("STUDY_STEP_DELAY_US"):
    sys.meta_path.insert(0, SlowFinder())
