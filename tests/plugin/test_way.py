"""`compare(..., way=...)`: how two engines share their device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.records.spec import EngineSpec

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

WAYS = {"resident": "both resident", "restart": "started in turns"}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every start (`+`) and end (`-`) of an engine in this process, by its model."""
    seen: list[str] = []

    class Noting(SimulatedEngine):
        def __init__(self, spec: EngineSpec, number: int = 0) -> None:
            super().__init__(spec, number)
            seen.append(f"+{spec.model}")

        def close(self) -> None:
            seen.append(f"-{self.spec.model}")

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", Noting)
    return seen


def _compare(project: Project, way: str | None, claim: str = "comparison.speedup()") -> None:
    """A test that compares two engines, one twice as fast; `claim` is what it does with the comparison."""
    project.module(f"""
def test_faster(vllmperf):
    a = vllmperf.engine("fast", backend="simulated", prefill_seconds_per_token=0, step_seconds=0.01)
    b = vllmperf.engine("slow", backend="simulated", prefill_seconds_per_token=0, step_seconds=0.02)
    comparison = vllmperf.compare(a, b, WORK, way={way!r})
    {claim}
""")


def _text(result: pytest.RunResult) -> str:
    """The output with folded lines joined."""
    return " ".join(line.strip() for line in result.outlines)


@pytest.mark.parametrize("way", WAYS)
def test_the_summary_tells_the_way(project: Project, way: str, workers: list[str]) -> None:
    _compare(project, way)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    engines = "prefill_seconds_per_token=0 step_seconds=0.0"
    assert f"test_faster: fast {engines}1 against slow {engines}2, {WAYS[way]}" in _text(result)
    assert "  output throughput 2x [1.6, 2.5] (99 % CI, 2 rounds)" in result.outlines


def test_engines_that_share_nothing_are_both_resident(project: Project) -> None:
    _compare(project, None, "assert comparison.way == 'both resident'")
    project.run("--vllmperf").assert_outcomes(passed=1)


@pytest.mark.parametrize("way", WAYS)
def test_the_comparison_tells_the_way(project: Project, way: str) -> None:
    _compare(project, way, f"assert comparison.way == {WAYS[way]!r}")
    project.run("--vllmperf").assert_outcomes(passed=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("claim", "outcome"), [("assert_speedup(3)", "REFUTED"), ("assert_speedup(1.99)", "INCONCLUSIVE")]
)
def test_a_failure_tells_the_way(project: Project, way: str, claim: str, outcome: str) -> None:
    _compare(project, way, f"comparison.{claim}")
    result = project.run("--vllmperf", "--vllmperf-max-engines=1")
    result.assert_outcomes(failed=1)
    wanted = claim.removeprefix("assert_speedup(").removesuffix(")")
    result.stdout.fnmatch_lines([
        f"{outcome} output throughput 400 tok/s against 200 tok/s: 2x [[]1.96, 2.04[]]",
        f"    (99 % CI, 2 rounds) · required: at least {wanted}x · {WAYS[way]}",
    ])  # fmt: skip


def test_started_in_turns_one_ends_before_the_other_starts(project: Project, events: list[str]) -> None:
    _compare(project, "restart", "assert comparison.assert_speedup(1.9).rounds == 3")
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert events[::2] == ["+fast", "+slow", "+slow", "+fast", "+fast", "+slow"]
    assert events[1::2] == ["-fast", "-slow", "-slow", "-fast", "-fast", "-slow"]


def test_both_resident_they_live_side_by_side(project: Project, events: list[str]) -> None:
    _compare(project, "resident", "assert comparison.assert_speedup(1.9).rounds == 3")
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert events[:2] == ["+fast", "+slow"]
    assert [event for event in events if event[0] == "+"] == ["+fast", "+slow"] * 3


def test_the_order_of_starts_does_not_turn_the_ratio_round(project: Project) -> None:
    claim = "found = comparison.assert_speedup(1.9); assert found.ratio == pytest.approx(2)"
    _compare(
        project,
        "restart",
        f"{claim}; assert len(comparison.a.engines) == 3; assert comparison.a.tpot.p50 == pytest.approx(0.01)",
    )
    project.run("--vllmperf").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("way", "line"),
    [
        (
            "sleep",
            "way='sleep' is not possible: the simulated engine cannot sleep; leave way= out, or use way='restart'",
        ),
        ("both", "way='both' is not valid; choose one of resident, sleep, restart"),
        ("", "way='' is not valid; choose one of resident, sleep, restart"),
    ],
)
def test_a_way_that_cannot_be_is_one_line(
    project: Project, way: str, line: str, workers: list[str], starts: list[str]
) -> None:
    _compare(project, way)
    result = project.run("--vllmperf", "--tb=long", *workers)
    result.assert_outcomes(failed=1)
    assert line in result.outlines
    for trace in ("Traceback", "fixture.py", "sharing.py", "def test_faster"):
        assert trace not in result.stdout.str()
    assert starts == []
