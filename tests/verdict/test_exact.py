"""Metrics that are compared exactly."""

from __future__ import annotations

import pytest

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.verdict import judge_exact

HIGHER, LOWER = Direction.HIGHER, Direction.LOWER


@pytest.mark.parametrize(
    ("direction", "new", "status"),
    [
        (LOWER, [100], Status.OK),
        (LOWER, [101], Status.UNDECIDED),
        (LOWER, [99], Status.UNDECIDED),
        (LOWER, [101, 101], Status.REGRESSED),
        (LOWER, [101, 103, 102], Status.REGRESSED),
        (LOWER, [99, 99], Status.IMPROVED),
        (LOWER, [101, 100], Status.NOISY),
        (LOWER, [101, 99], Status.NOISY),
        (HIGHER, [101, 101], Status.IMPROVED),
        (HIGHER, [99, 99], Status.REGRESSED),
        (HIGHER, [100, 100], Status.OK),
    ],
)
def test_a_difference_needs_a_second_engine(direction: Direction, new: list[float], status: Status) -> None:
    decision = judge_exact(direction, [100, 100], new)
    assert decision.status is status
    assert decision.value == new[-1]
    assert decision.baseline == 100


@pytest.mark.parametrize(("value", "baseline"), [(102, 102), (106, 104), (99, 100)])
def test_a_value_is_told_against_the_nearer_end_of_the_stored_range(value: float, baseline: float) -> None:
    decision = judge_exact(LOWER, [100, 104], [value])
    assert (decision.baseline, decision.value) == (baseline, value)
    assert (decision.status is Status.OK) is (value == 102)


def test_a_margin_widens_the_range_on_both_sides() -> None:
    assert judge_exact(LOWER, [100, 104], [109, 109], margin=0.05).status is Status.OK
    assert judge_exact(LOWER, [100, 104], [110, 110], margin=0.05).status is Status.REGRESSED
    assert judge_exact(LOWER, [100, 104], [96, 96], margin=0.05).status is Status.OK
    assert judge_exact(LOWER, [100, 104], [94, 94], margin=0.05).status is Status.IMPROVED


def test_zero_is_a_value() -> None:
    assert judge_exact(LOWER, [0, 0], [0]).status is Status.OK
    assert judge_exact(LOWER, [0, 0], [3, 3]).status is Status.REGRESSED
    assert judge_exact(HIGHER, [0], [3, 3], margin=0.5).status is Status.IMPROVED
