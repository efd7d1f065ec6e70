"""Which of several points has the highest goodput, by engines that did not take part in the search. Pure.

The goodput of a point is the mean over its replicates of their logarithms. Two points are compared by Student's
interval of the difference; its variance is that of engines of one point, pooled over all points, as few replicates of
one point tell little of it. The error of 5 % is divided by the number of comparisons and of looks (Bonferroni), so that
all intervals hold together, whenever the race ends.

A rival is out where its interval lies below the best. The race is decided when each rival is out, or is better than the
best by no more than `MARGIN`: points that behave alike would else be measured for ever. (R. Bechhofer, Annals of
Mathematical Statistics 25, 1954, calls that margin the indifference zone.)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Final, Generic, TypeVar

import numpy as np
from scipy.stats import t as student

ERROR: Final = 0.05
MARGIN: Final = 0.03
"""Relative difference of goodput that decides nothing."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Noise:
    """How much engines of one point vary.

    Attributes:
        sd: standard deviation of the logarithm of goodput.
        freedom: degrees of freedom; 0 where nothing tells.
    """

    sd: float
    freedom: int


@dataclass(frozen=True)
class Interval:
    """A ratio with its interval.

    Attributes:
        ratio: the estimate.
        low: lower end.
        high: upper end.
    """

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing(Generic[Key]):
    """Where a race stands.

    Attributes:
        best: the point with the highest goodput.
        rivals: the ratio of each other point's goodput to the best's.
    """

    best: Key
    rivals: Mapping[Key, Interval]

    @property
    def alike(self) -> list[Key]:
        """Rivals that are not told apart from the best."""
        return [key for key, one in self.rivals.items() if one.high >= 1]

    @property
    def decided(self) -> bool:
        """Whether no rival may be better than the best by more than the margin."""
        return all(one.high < 1 + MARGIN for one in self.rivals.values())


def pooled(groups: Sequence[Sequence[float]]) -> Noise:
    """The noise of engines, from all points; those with a value of 0 are left out.

    Args:
        groups: for each point one value per replicate.
    """
    used = [np.log(one) for one in groups if len(one) > 1 and min(one) > 0]
    freedom = sum(len(one) - 1 for one in used)
    if not freedom:
        return Noise(inf, 0)
    return Noise(sqrt(sum(float(((one - one.mean()) ** 2).sum()) for one in used) / freedom), freedom)


def ratio(above: Sequence[float], below: Sequence[float], noise: Noise, error: float) -> Interval:
    """The ratio of two points' goodput.

    Args:
        above: values of the one, all above 0.
        below: of the other.
        noise: of engines.
        error: how often the interval may miss the truth.
    """
    shift = float(np.log(above).mean() - np.log(below).mean())
    return _around(shift, noise, sqrt(1 / len(above) + 1 / len(below)), error)


def interval(values: Sequence[float], noise: Noise, error: float = ERROR) -> Interval:
    """The goodput of one point with its interval; all values above 0."""
    return _around(float(np.log(values).mean()), noise, sqrt(1 / len(values)), error)


def standing(values: Mapping[Key, Sequence[float]], noise: Noise, comparisons: int) -> Standing[Key]:
    """Where the race stands.

    Args:
        values: of each point that is in the race, one per replicate, all above 0; at least one point.
        noise: of engines.
        comparisons: among which the error is divided: rivals times looks.
    """
    best = max(values, key=lambda key: float(np.log(values[key]).mean()))
    error = ERROR / max(1, comparisons)
    rivals = {key: ratio(own, values[best], noise, error) for key, own in values.items() if key != best}
    return Standing(best, rivals)


def _around(shift: float, noise: Noise, width: float, error: float) -> Interval:
    if not noise.freedom:
        return Interval(exp(shift), 0.0, inf)
    half = float(student.ppf(1 - error / 2, noise.freedom)) * noise.sd * width
    return Interval(exp(shift), exp(shift - half), exp(min(shift + half, log(1e300))))
