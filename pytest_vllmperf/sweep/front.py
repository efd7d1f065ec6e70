"""The Pareto front of points, and cliffs between neighbours of a curve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from pytest_vllmperf.stats.log_ratio import log_ratio

LEAST_FALL: Final = 0.03
"""A fall of throughput below this share is no cliff, however certain it is."""
CONFIDENCE: Final = 0.95


def pareto(rows: Sequence[Sequence[float]]) -> list[int]:
    """The rows that no other row dominates: is at least as good in every column, and better in one.

    Args:
        rows: one per point; in every column more is better, so a latency comes with its sign turned. Of one length.

    Returns:
        Their places, ascending; equal rows are all on the front.
    """
    if not rows:
        return []
    table = np.asarray(rows, dtype=float)
    front = []
    for place, row in enumerate(table):
        dominates = np.all(table >= row, axis=1) & np.any(table > row, axis=1)
        if not dominates.any():
            front.append(place)
    return front


@dataclass(frozen=True)
class Fall:
    """A step of a curve at which throughput falls.

    Attributes:
        index: of the load before it.
        ratio: throughput after over before.
        low: lower end of its interval.
        high: upper end, below 1.
    """

    index: int
    ratio: float
    low: float
    high: float


def falls(curve: Sequence[Sequence[float]]) -> list[Fall]:
    """The steps at which throughput falls by more than its noise, and by at least 3 %.

    Noise is that of iterations. The interval of each ratio is Welch's on logarithms (B. L. Welch, Biometrika 34, 1947);
    its confidence is such that those of all steps of the curve hold together with 95 %, after Bonferroni. A step with
    fewer than two iterations on a side tells no noise, and is left out.

    Args:
        curve: throughput of each iteration at each load, loads ascending; all above 0.
    """
    steps = max(1, len(curve) - 1)
    found = []
    for index, (before, after) in enumerate(pairwise(curve)):
        if min(len(before), len(after)) < 2:
            continue
        fall = Fall(index, *log_ratio(before, after, CONFIDENCE, steps))
        if fall.high < 1 and fall.ratio <= 1 - LEAST_FALL:
            found.append(fall)
    return found
