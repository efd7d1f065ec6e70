"""What is compiled in this process while it should be measured: Triton kernels, and graphs of torch.compile."""

from __future__ import annotations

import sys
from typing import Any


class Counter:
    """Counts from its making on. Triton calls one hook after each kernel; what was there before is called too."""

    def __init__(self) -> None:
        self.kernels = 0
        self._graphs = graphs()
        triton: Any = sys.modules.get("triton")
        runtime = getattr(getattr(triton, "knobs", None), "runtime", None)
        if runtime is not None:
            self._before = getattr(runtime, "jit_post_compile_hook", None)
            runtime.jit_post_compile_hook = self._compiled

    def take(self) -> int:
        """How many kernels and graphs were compiled since the last call."""
        now = graphs()
        found = self.kernels + max(0, now - self._graphs)
        self.kernels, self._graphs = 0, now
        return found

    def _compiled(self, *arguments: Any, **keywords: Any) -> Any:
        self.kernels += 1
        return self._before(*arguments, **keywords) if self._before is not None else None


def graphs() -> int:
    """Graphs that torch.compile has compiled in this process; 0 where it was never used."""
    module: Any = sys.modules.get("torch._dynamo.utils")
    return 0 if module is None else int(module.counters["stats"]["unique_graphs"])
