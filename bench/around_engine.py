"""What the plugin adds around an engine's own work, on real vLLM: 20 tests over 3 engine specs, in shuffled order.

    python bench/around_engine.py

An engine's own work is what its process says it took: importing vLLM, loading, and its runs. Everything else of the
tests' time (set-up, call and tear-down) is the plugin's.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines import child_engine

LIMIT = 0.03
TESTS, SPECS = 20, 3
TEMPLATE = """
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=16, input_tokens=64, output_tokens=32)
TINY = dict(dtype="float32", enforce_eager=True, max_model_len=512, kv_cache_memory_bytes=64 * 2**20)
"""
TEST = """
@pytest.mark.vllm("vllmperf:tiny", max_num_seqs={seqs}, **TINY)
def test_{number}(vllmperf):
    vllmperf.check(vllmperf.measure(WORK, iterations=5))
"""


class Watch:
    """Adds up the tests' time and the engines' own."""

    def __init__(self) -> None:
        self.tests = self.imports = self.loads = self.runs = 0.0
        self.starts = 0

    def reset(self) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests += report.duration

    def load(self, engine: Any, original: Any, *arguments: Any) -> None:
        original(engine, *arguments)
        self.starts += 1
        self.imports = engine.facts.load_time["import"]  # one interpreter: imported once
        self.loads += engine.facts.load_time["total"]

    def run(self, original: Any, answer: dict[str, Any], requests: Any) -> Any:
        self.runs += answer["busy_seconds"]
        return original(answer, requests)


def main() -> int:
    watch = Watch()
    load, result = child_engine.ChildEngine.load, child_engine.run_result
    child_engine.ChildEngine.load = lambda engine, *a: watch.load(engine, load, *a)  # type: ignore[method-assign]
    child_engine.run_result = lambda answer, requests: watch.run(result, answer, requests)
    numbers = list(range(TESTS))
    random.Random(7).shuffle(numbers)
    with tempfile.TemporaryDirectory() as folder:
        tests = "".join(TEST.format(number=number, seqs=(16, 8, 4)[number % SPECS]) for number in numbers)
        Path(folder, "test_many.py").write_text(TEMPLATE + tests)
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        common = [folder, f"--rootdir={folder}", "-q", "-p", "no:cacheprovider"]
        recorded = pytest.main([*common, "--vllmperf-update"])
        watch.reset()
        code = pytest.main([*common, "--vllmperf"], plugins=[watch])
    own = watch.imports + watch.loads + watch.runs
    added = watch.tests / own - 1
    print(f"{TESTS} tests over {SPECS} specs, shuffled: {watch.starts} engine starts")
    print(f"tests {watch.tests:.2f} s; engines' own work {own:.2f} s (import {watch.imports:.2f}, "
          f"loads {watch.loads:.2f}, runs {watch.runs:.2f})")  # fmt: skip
    print(f"the plugin adds {added:.2%} (limit {LIMIT:.0%})")
    return 0 if recorded == code == 0 and watch.starts == SPECS and added <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
