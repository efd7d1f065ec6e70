"""Where the level of a series changed: E-divisive means, tested with Student's t-test and weakly filtered.

The algorithm is that of Apache Otava, formerly Hunter: Fleming et al., "Hunter: Using Change Point Detection to Hunt
for Performance Regressions", ICPE 2023, https://doi.org/10.1145/3578244.3583719. The statistic that places a change is
that of Matteson and James, "A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data", 2014,
https://arxiv.org/abs/1306.4933, with the exponent 1. Written from these papers. Two things differ from Otava 0.8, and
both make more visible: the filter tests both neighbours of a change that it takes away anew, and a window is divided in
a second way before it is left undivided. bench/change_points.py compares the two; docs/history.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from scipy.special import stdtr

from pytest_vllmperf.stats.robust import BoolArray, FloatArray

WINDOW: Final = 50
"""Values that are looked at together. The next window begins half of it later, or at the last change in it."""
MAX_P: Final = 0.001
"""A change counts if chance alone would make such a one at most this often."""
_WEAKLY: Final = 10.0
"""So many times the chance is allowed while changes are looked for; the filter applies the chance itself."""
_FEWEST: Final = 3
"""Values that a t-test needs: with fewer there is no spread to hold a difference against."""
_ROUNDING: Final = 1e-12
"""Means of equal values may differ by a few units in their last place, and their spread is as small."""


@dataclass(frozen=True)
class ChangePoint:
    """A place where the level changed.

    Attributes:
        at: index of the first value on the new level.
        p_value: the chance of such a difference where nothing changed, two-sided, 0 .. 1.
        before: mean of the level before it.
        after: mean of the level that begins with it.
    """

    at: int
    p_value: float
    before: float
    after: float

    @property
    def change(self) -> float | None:
        """After against before: 0.05 is 5 % more; None where the level before it is 0."""
        return self.after / self.before - 1 if self.before else None

    @property
    def magnitude(self) -> float:
        """The larger one of both changes, there and back, as the filter uses it."""
        ratios = [top / bottom for top, bottom in ((self.after, self.before), (self.before, self.after)) if bottom]
        return max((abs(ratio - 1) for ratio in ratios), default=0.0)


def change_points(
    values: Sequence[float] | FloatArray, *, window: int = WINDOW, max_p: float = MAX_P, min_magnitude: float = 0.0
) -> list[ChangePoint]:
    """The places where the level of a series changed, in order.

    First, changes are looked for in windows that overlap by half, with ten times the allowed chance. Then the least
    certain of all found is taken away and its neighbours are tested anew, until all that are left keep `max_p`; and
    likewise the smallest, until all are larger than `min_magnitude`.

    Args:
        values: shape (n,), finite, in the order of time.
        window: at least 4 values.
        max_p: allowed chance, 0 .. 1.
        min_magnitude: changes up to this fraction do not count.
    """
    series = np.asarray(values, dtype=np.float64)
    places = _weak(series, window, min(1.0, max_p * _WEAKLY))
    return _filtered(series, places, max_p, min_magnitude)


def _weak(series: FloatArray, window: int, max_p: float) -> list[int]:
    """Places that may be changes, from all windows."""
    found: set[int] = set()
    start = 0
    while start < len(series):
        inside = [start + at for at in _in_window(series[start : start + window], max_p)]
        found.update(inside)
        start = max([start + window // 2, *inside[-1:]])
    return sorted(found)


def _in_window(part: FloatArray, max_p: float) -> list[int]:
    """Changes in one window: it is divided at the best place as long as both sides of it differ.

    Where those do not differ, the best division into just two is tried, which Otava does not: a level that came and
    went lies within one of both sides and hides from the test, however far away it was.
    """
    if part.min() == part.max():
        return []
    ends = [0, len(part)]
    best = {pair: _best_division(part[slice(*pair)]) for pair in pairwise(ends)}
    while best:
        (low, high), division = max(best.items(), key=lambda one: (one[1].score, -one[0][0]))
        if division.score == -np.inf:
            break
        places = (low + place for place in (division.place, division.in_two))
        at = next((at for at in places if _test(part[low:at], part[at:high]).p_value <= max_p), None)
        if at is None:
            break
        ends = sorted([*ends, at])
        del best[low, high]
        best |= {pair: _best_division(part[slice(*pair)]) for pair in ((low, at), (at, high))}
    return ends[1:-1]


class _Division(NamedTuple):
    """Where a part may be divided: at `place`, which has the largest `score`, or at `in_two`, into the whole."""

    score: float
    place: int
    in_two: int


def _best_division(part: FloatArray) -> _Division:
    """Where a part falls into two that differ most, and by how much; -inf where there is nothing to divide.

    For every place t and every end k of what is compared with it, the statistic is that of the values [0, t) and
    [t, k), which have n = t and m = k - t members:

        2/(n+m) sum|x-y|  -  2m/((n+m)(n-1)) sum|x-x'|  -  2n/((n+m)(m-1)) sum|y-y'|

    with sums over pairs, and the place of its maximum is taken. All sums come from one table of sums over rectangles
    of the matrix of distances.
    """
    length = len(part)
    if length < 2:
        return _Division(-np.inf, 0, 0)
    sums = np.zeros((length + 1, length + 1))
    np.cumsum(np.cumsum(np.abs(part[:, None] - part[None, :]), axis=0), axis=1, out=sums[1:, 1:])
    within = sums.diagonal()  # each pair twice
    across = sums - within[:, None]
    between, left, right, impossible = _weights(length)
    after = within[None, :] - 2 * sums + within[:, None]
    score = between * across - left * within[:, None] - right * after
    score[impossible] = -np.inf
    place, end = divmod(int(np.argmax(score)), length + 1)
    return _Division(float(score[place, end]), place, int(np.argmax(score[:, length])))


@cache
def _weights(length: int) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Factors of the three sums, for all places (rows) and ends (columns) 0 .. length; pairs are counted twice.

    And where there is nothing to compare, as one of both sides would be empty.
    """
    n = np.arange(length + 1.0)[:, None]
    m = np.arange(length + 1.0)[None, :] - n
    valid = (n >= 1) & (m >= 1)
    both = np.where(valid, n + m, 1.0)
    left = np.where(valid & (n > 1), m / (both * np.where(n > 1, n - 1, 1.0)), 0.0)
    right = np.where(valid & (m > 1), n / (both * np.where(m > 1, m - 1, 1.0)), 0.0)
    return np.where(valid, 2 / both, 0.0), left, right, ~valid


@dataclass(frozen=True)
class _Tested:
    p_value: float
    before: float
    after: float


def _test(left: FloatArray, right: FloatArray) -> _Tested:
    """Student's t-test of two parts, at least one value each.

    The spread is that of the values at hand, divided by their number, as in Otava. Two parts without any spread differ
    for certain, or not at all.
    """
    n, m = len(left), len(right)
    before, after = float(left.sum()) / n, float(right.sum()) / m
    if n + m < _FEWEST or math.isclose(before, after, rel_tol=_ROUNDING):
        return _Tested(1.0, before, after)
    pooled = ((n - 1) * _variance(left, before) + (m - 1) * _variance(right, after)) / (n + m - 2)
    error = math.sqrt(pooled * (1 / n + 1 / m))
    if error == 0:
        return _Tested(0.0, before, after)
    return _Tested(2 * float(stdtr(n + m - 2, -abs(before - after) / error)), before, after)


def _variance(part: FloatArray, mean: float) -> float:
    away = part - mean
    return float(away @ away) / len(part)


def _filtered(series: FloatArray, places: Sequence[int], max_p: float, min_magnitude: float) -> list[ChangePoint]:
    """What is left once the least certain and the smallest changes are taken away, one by one."""
    ends = [0, *places, len(series)]
    found = [_between(series, ends[at : at + 3]) for at in range(len(places))]
    while found:
        weakest = max(found, key=lambda one: one.p_value)
        if weakest.p_value < max_p:
            weakest = min(found, key=lambda one: one.magnitude)
            if weakest.magnitude > min_magnitude:
                break
        gone = found.index(weakest)
        del found[gone]
        ends = [0, *(one.at for one in found), len(series)]
        for beside in (gone - 1, gone):  # their level has grown by that of the one that is gone
            if 0 <= beside < len(found):
                found[beside] = _between(series, ends[beside : beside + 3])
    return found


def _between(series: FloatArray, ends: Sequence[int]) -> ChangePoint:
    """The change between two neighbouring levels: from the first end to the second, and from there to the third."""
    low, at, high = ends
    tested = _test(series[low:at], series[at:high])
    return ChangePoint(at, tested.p_value, tested.before, tested.after)
