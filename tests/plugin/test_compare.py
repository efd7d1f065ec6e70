from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.spec import EngineSpec

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _compare(project: Project, claim: str, steps: tuple[float, float] = (0.01, 0.02), arguments: str = "") -> None:
    """A test that compares two engines; `claim` is what it does with the comparison."""
    project.module(f"""
def test_faster(vllmperf):
    a = vllmperf.engine("fast", backend="simulated", prefill_seconds_per_token=0, step_seconds={steps[0]})
    b = vllmperf.engine("slow", backend="simulated", prefill_seconds_per_token=0, step_seconds={steps[1]})
    comparison = vllmperf.compare(a, b, WORK{arguments})
    {claim}
""")


def test_a_speedup_that_is_there_passes(project: Project) -> None:
    _compare(project, "assert comparison.assert_speedup(1.9).pairs == 10")
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_speedup_that_is_not_there_fails_in_a_line(project: Project, workers: list[str]) -> None:
    _compare(project, "comparison.assert_speedup(3)")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["SPEEDUP NOT SHOWN  *: 2x [[]2, 2[]] (99% interval, 10 rounds), wanted at least 3x"])
    for trace in ("*fixture.py*", "*def test_faster*", "*Traceback*"):
        result.stdout.no_fnmatch_line(trace)


def test_the_lower_bound_decides(project: Project) -> None:
    """One round shows nothing, whatever its ratio."""
    _compare(project, "comparison.assert_speedup(1.01)", arguments=", iterations=1, warmup=0")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["SPEEDUP NOT SHOWN  *: 2x [[]0, inf[]] (99% interval, 1 rounds)*"])


@pytest.mark.parametrize("metric", ["tpot.p50", "ttft.p50", "e2e.p99", "request_throughput"])
def test_of_another_metric(project: Project, metric: str) -> None:
    _compare(project, f"comparison.assert_speedup(1.9, {metric!r})")
    project.run("--vllmperf").assert_outcomes(passed=1)
    _compare(project, f"comparison.assert_speedup(2.1, {metric!r})")
    project.run("--vllmperf").assert_outcomes(failed=1)


@pytest.mark.parametrize("metric", ["speed", "resident_bytes", "preemptions"])
def test_a_metric_that_was_not_measured(project: Project, metric: str) -> None:
    _compare(project, f"comparison.assert_speedup(1, {metric!r})")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*stats.py*")
    result.stdout.no_fnmatch_line("*verdict.py*")


def test_both_sides_can_be_read(project: Project) -> None:
    _compare(project, "assert comparison.a.tpot.p50 < comparison.b.tpot.p50; assert comparison.speedup().low > 1.9")
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_one_and_the_same_engine_is_refused(project: Project) -> None:
    project.module("""
def test_same(vllmperf):
    a = vllmperf.engine("sim", backend="simulated", step_seconds=0.01, seed=1)
    b = vllmperf.engine("sim", backend="simulated", seed=1, step_seconds=0.01)
    vllmperf.compare(a, b, WORK)
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*compare() needs two different engines*"])
    result.stdout.no_fnmatch_line("*fixture.py*")


def test_rounds_take_turns(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    class Noting(SimulatedEngine):
        def __init__(self, spec: EngineSpec) -> None:
            super().__init__(spec)
            run = self.run
            self.run = lambda *args: (ran.append(spec.model), run(*args))[1]  # type: ignore[method-assign]

    monkeypatch.setattr("pytest_vllmperf.engines.launcher.SimulatedEngine", Noting)
    _compare(project, "comparison.assert_speedup(1.9)", arguments=", iterations=3, warmup=1")
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert ran == ["fast", "slow", "slow", "fast", "fast", "slow", "slow", "fast"]


def test_marker_gives_the_rounds(project: Project) -> None:
    _compare(project, "assert comparison.speedup().pairs == 4")
    body = (project.root / "test_chat.py").read_text()
    project.write("test_chat.py", body.replace("def test_", "@pytest.mark.vllmperf(iterations=4)\ndef test_"))
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_comparison_stores_nothing(project: Project) -> None:
    _compare(project, "comparison.assert_speedup(1.5)")
    project.record()
    assert project.files() == {}
