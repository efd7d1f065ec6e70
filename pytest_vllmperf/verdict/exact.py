"""Metrics that noise cannot move: counters, weight bytes, KV blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import Direction

# A difference on one engine may be an accident of its start; a second engine confirms it.
CONFIRMING_ENGINES: Final = 2


@dataclass(frozen=True, slots=True)
class ExactDecision:
    """A verdict on an exact metric.

    status: OK, UNDECIDED, REGRESSED, IMPROVED or NOISY. baseline: the end of the stored range that is nearer to
    `value`, or `value` itself within it. value: of the last new engine.
    """

    status: Status
    baseline: float
    value: float


def judge_exact(
    direction: Direction,
    baseline: Sequence[float],
    new: Sequence[float],
    margin: float = 0.0,
    confirming: int = CONFIRMING_ENGINES,
) -> ExactDecision:
    """Compare exactly; a difference counts once a second engine shows it too.

    OK if every engine lies within the stored range, UNDECIDED if the only one does not, REGRESSED or IMPROVED if all
    engines lie outside on that side, NOISY if the engines contradict each other: some within and some outside, or
    outside on both sides.

    Args:
        direction: which way the metric is better.
        baseline: one value per stored engine; at least one, zero allowed.
        new: one value per new engine, in the order measured; at least one.
        margin: how far beyond the stored range a value may lie, a fraction of the range's end.
        confirming: how many engines have to show a difference; 1 for what a run has once.
    """
    low, high = min(baseline), max(baseline)
    value = new[-1]
    sides = [side * direction.sign for side in sides_of(baseline, new, margin)]
    return ExactDecision(_status(sides, confirming), min(max(value, low), high), value)


def confirming_engines(metric: Metric) -> int:
    """How many engine starts have to show that an exact metric has changed."""
    return 1 if metric.once else CONFIRMING_ENGINES


def tolerated(baseline: Sequence[float], margin: float) -> tuple[float, float]:
    """The stored range, with the margin beyond its ends."""
    low, high = min(baseline), max(baseline)
    return low - margin * abs(low), high + margin * abs(high)


def sides_of(baseline: Sequence[float], new: Sequence[float], margin: float) -> list[int]:
    """For each new engine -1 below the tolerated range, 1 above, 0 within."""
    low, high = tolerated(baseline, margin)
    return [_side(one, low, high) for one in new]


def _side(value: float, low: float, high: float) -> int:
    """-1 below the range, 1 above, 0 within."""
    return int(value > high) - int(value < low)


def _status(worse: Sequence[int], confirming: int) -> Status:
    """Status from the sides of the engines, 1 is worse and -1 better than every stored one."""
    if not any(worse):
        return Status.OK
    if len(worse) < confirming:
        return Status.UNDECIDED
    if min(worse) == 1:
        return Status.REGRESSED
    return Status.IMPROVED if max(worse) == -1 else Status.NOISY
