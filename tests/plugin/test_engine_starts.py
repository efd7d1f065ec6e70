"""How many engines a run has started, in its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.interpreters import interpreter
from tests.plugin.test_json import FLAG, MARK, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

TESTS = f"""
{MARK}
def test_a(vllmperf):
    vllmperf.check(vllmperf.measure(WORK), name="one")
    vllmperf.check(vllmperf.measure(WORK), name="two")

{MARK.replace("0.01", "0.02")}
def test_b(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 > 0

@pytest.mark.vllm("sim", backend="simulated", fail="load")
def test_fails(vllmperf):
    vllmperf.measure(WORK)

def test_of_another_kind(): pass
"""


def test_each_start_counts_once_also_one_that_fails(project: Project, workers: list[str]) -> None:
    project.module(TESTS)
    project.run("--vllmperf-update", FLAG, "--vllmperf-engines=3", *workers)
    report = written(project)
    assert [len(check.engines) for _, check in report.checks] == [3, 3]  # the same three
    assert report.run.engine_starts == 3 + 1 + 1


def test_a_run_counts_what_it_started_itself(project: Project, starts: list[str]) -> None:
    project.perf_tests()
    project.record()
    starts.clear()
    project.run("--vllmperf", FLAG)
    assert written(project).run.engine_starts == len(starts) > 0


def test_those_of_the_reference_count(project: Project, tmp_path: Path, starts: list[str]) -> None:
    project.perf_tests()
    python = interpreter(tmp_path / "other", "0.31.0")
    project.run("--vllmperf", FLAG, f"--vllmperf-against={python}", "--vllmperf-gate=exact")
    report = written(project)
    ((_, check),) = report.checks
    assert check.reference is not None
    assert report.run.engine_starts == len(check.engines) + len(check.reference.engines) == len(starts)


def test_of_a_worker_that_died_nobody_knows(project: Project) -> None:
    project.module(f"{MARK}\ndef test_dies(vllmperf):\n    __import__('os')._exit(3)\n")
    project.run("--vllmperf", FLAG, "-n", "1")
    assert written(project).run.engine_starts is None
