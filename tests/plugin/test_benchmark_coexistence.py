from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SHORT = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=1")


def _both(project: Project) -> None:
    project.perf_tests()
    project.write("test_bench.py", "def test_bench(benchmark):\n    assert benchmark(lambda: 7) == 7\n")


def test_both_in_one_run(project: Project) -> None:
    _both(project)
    result = project.run("--vllmperf-update", *SHORT, "--benchmark-json=bench.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_bench *"])
    result.stdout.fnmatch_lines(["test_chat *RECORDED*"])
    benchmarks = json.loads((project.root / "bench.json").read_text())["benchmarks"]
    assert "test_bench" in [benchmark["name"] for benchmark in benchmarks]
    assert list(project.stored()) == ["test_chat"]


def test_xdist(project: Project) -> None:
    _both(project)
    project.run("--vllmperf-update", "-n", "2").assert_outcomes(passed=2)
    assert list(project.stored()) == ["test_chat"]


def test_unarmed(project: Project) -> None:
    _both(project)
    project.run(*SHORT).assert_outcomes(passed=1, skipped=1)


def test_without_it(project: Project) -> None:
    project.perf_tests()
    project.record("-p", "no:benchmark")
    project.run("--vllmperf", "-p", "no:benchmark").assert_outcomes(passed=1)
