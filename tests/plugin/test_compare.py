from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.records.spec import EngineSpec

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
    _compare(project, "assert comparison.assert_speedup(1.7).rounds == 3")
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_speedup_that_is_not_there_fails_in_a_line(project: Project, workers: list[str]) -> None:
    _compare(project, "comparison.assert_speedup(3)")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "REFUTED output throughput * against *: 2x [[]*[]]*",
            "*(99 % CI, 2 rounds) · required: at least 3x · both resident",
        ]
    )
    for trace in ("*fixture.py*", "*def test_faster*", "*Traceback*"):
        result.stdout.no_fnmatch_line(trace)


def test_the_lower_bound_decides(project: Project) -> None:
    """A ratio of 2 that was measured exactly is no proof of 1.99: other engines of both kinds may differ."""
    _compare(project, "comparison.assert_speedup(1.99)")
    result = project.run("--vllmperf", "--vllmperf-max-engines=2")
    result.assert_outcomes(failed=1)
    text = " ".join(line.strip() for line in result.outlines)
    assert "INCONCLUSIVE output throughput" in text
    assert "(99 % CI, 2 rounds)" in text
    assert "rounds would decide it (--vllmperf-max-engines)" in text


def test_an_open_assertion_measures_more_rounds_on_fresh_engines(project: Project, starts: list[str]) -> None:
    _compare(project, "assert comparison.assert_speedup(1.9).rounds == 3; assert len(comparison.a.engines) == 3")
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert [label.split()[0] for label in starts] == ["fast", "slow"] * 3


def test_what_two_rounds_decide_takes_no_more(project: Project, starts: list[str]) -> None:
    _compare(project, "comparison.assert_speedup(1.5); comparison.assert_not_slower()")
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert [label.split()[0] for label in starts] == ["fast", "slow"] * 2


def test_rounds_end_with_the_time(project: Project, starts: list[str]) -> None:
    _compare(project, "comparison.assert_speedup(1.99)")
    project.run("--vllmperf", "--vllmperf-max-time=0").assert_outcomes(failed=1)
    assert [label.split()[0] for label in starts] == ["fast", "slow"] * 2


@pytest.mark.parametrize(("steps", "outcome"), [((0.01, 0.0101), ""), ((0.01, 0.006), "REFUTED")])
def test_not_slower(project: Project, steps: tuple[float, float], outcome: str, workers: list[str]) -> None:
    _compare(project, "comparison.assert_not_slower(0.05)", steps)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(**({"failed": 1} if outcome else {"passed": 1}))
    if outcome:
        result.stdout.fnmatch_lines([f"{outcome} output throughput *", "*required: at least 0.95x · both resident"])


def test_not_slower_with_no_margin_is_never_shown_of_equals(project: Project) -> None:
    _compare(project, "comparison.assert_not_slower(0)", (0.01, 0.01000001))
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INCONCLUSIVE *: 1x [[]*"])


@pytest.mark.parametrize("claim", ["assert_speedup(0)", "assert_speedup(-1)", "assert_not_slower(1)"])
def test_a_claim_that_cannot_be_meant(project: Project, claim: str) -> None:
    _compare(project, f"comparison.{claim}")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["assert_*: * must be *"])
    result.stdout.no_fnmatch_line("*comparison.py*")


def test_a_round_that_is_void_fails_in_a_line(project: Project) -> None:
    project.module("""
def test_short(vllmperf):
    a = vllmperf.engine("fast", backend="simulated", fail="short")
    b = vllmperf.engine("slow", backend="simulated")
    vllmperf.compare(a, b, WORK)
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID  fast*: a request returned 4 output tokens instead of 5 *"])


@pytest.mark.parametrize("metric", ["tpot.p50", "ttft.p50", "e2e.p99", "request_throughput"])
def test_of_another_metric(project: Project, metric: str) -> None:
    _compare(project, f"comparison.assert_speedup(1.5, {metric!r})")
    project.run("--vllmperf").assert_outcomes(passed=1)
    _compare(project, f"comparison.assert_speedup(2.6, {metric!r})")
    project.run("--vllmperf").assert_outcomes(failed=1)


@pytest.mark.parametrize("metric", ["speed", "resident_bytes", "preemptions"])
def test_a_metric_that_was_not_measured(project: Project, metric: str) -> None:
    _compare(project, f"comparison.assert_speedup(1, {metric!r})")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*stats.py*")
    result.stdout.no_fnmatch_line("*verdict.py*")


def test_both_sides_can_be_read(project: Project) -> None:
    _compare(project, "assert comparison.a.tpot.p50 < comparison.b.tpot.p50; assert comparison.speedup().low > 1.5")
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_an_engine_is_compared_with_itself_on_starts_of_its_own(
    project: Project, starts: list[str], workers: list[str]
) -> None:
    project.module("""
def test_same(vllmperf):
    a = vllmperf.engine("sim", backend="simulated", step_seconds=0.01, seed=1)
    b = vllmperf.engine("sim", backend="simulated", seed=1, step_seconds=0.01)
    comparison = vllmperf.compare(a, b, WORK)
    assert comparison.speedup().rounds == 2
    comparison.assert_not_slower(0.3)
""")
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    assert workers or len(starts) == 4


def test_engines_take_turns(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    class Noting(SimulatedEngine):
        def __init__(self, spec: EngineSpec, number: int = 0) -> None:
            super().__init__(spec, number)
            run = self.run
            self.run = lambda *args: (ran.append(spec.model), run(*args))[1]  # type: ignore[method-assign]

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", Noting)
    _compare(project, "comparison.assert_speedup(1.5)", arguments=", iterations=3, warmup=0")
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert ran == ["fast", "slow", "slow", "fast", "fast", "slow", "slow", "fast"] * 2


def test_marker_gives_the_iterations(project: Project) -> None:
    _compare(project, "assert len(comparison.a.engines[0].values('tpot.p50')) == 4")
    body = (project.root / "test_chat.py").read_text()
    project.write("test_chat.py", body.replace("def test_", "@pytest.mark.vllmperf(iterations=4)\ndef test_"))
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_comparison_stores_nothing(project: Project) -> None:
    _compare(project, "comparison.assert_speedup(1.5)")
    project.record()
    assert project.files() == {}
