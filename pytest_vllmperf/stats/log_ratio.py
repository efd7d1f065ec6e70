"""The ratio of two samples of positive values, with its interval. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import NamedTuple

import numpy as np
from scipy import stats as distributions


class LogRatio(NamedTuple):
    """A ratio with its interval.

    Attributes:
        ratio: of the geometric means, the second sample over the first.
        low: lower end of its interval.
        high: upper end.
    """

    ratio: float
    low: float
    high: float


def log_ratio(before: Sequence[float], after: Sequence[float], confidence: float, intervals: int = 1) -> LogRatio:
    """The ratio of two samples, by Welch's interval on logarithms (B. L. Welch, Biometrika 34, 1947).

    Args:
        before: at least two values above 0.
        after: at least two values above 0.
        confidence: with which all intervals hold together, after Bonferroni.
        intervals: how many there are.
    """
    sides = [np.log(np.asarray(side, float)) for side in (before, after)]
    difference = float(sides[1].mean() - sides[0].mean())
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    variance = sum(parts)
    half = 0.0
    if variance > 0:
        freedom = variance**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
        half = float(distributions.t.ppf(1 - (1 - confidence) / 2 / intervals, freedom)) * variance**0.5
    return LogRatio(exp(difference), exp(difference - half), exp(difference + half))
