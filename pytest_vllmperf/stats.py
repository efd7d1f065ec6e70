"""Samples -> summary and interval. Knows nothing of metrics, files or engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class RatioInterval:
    """A ratio with its confidence bounds, all dimensionless.

    Attributes:
        estimate: geometric mean of the paired ratios.
        low: lower bound; equal to the estimate's own side only with one pair, where it is 0.
        high: upper bound; infinity with one pair.
        confidence: two-sided confidence level of (low, high).
        pairs: how many pairs it rests on.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    pairs: int


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Mean and the percentiles of `PERCENTILES`, by linear interpolation (numpy's default, as vLLM's benchmarks).

    Args:
        values: one number per request or token; at least one.

    Returns:
        Keys `mean`, `p50`, `p90`, `p95`, `p99`, in the unit of `values`.

    Raises:
        ValueError: for no values; an empty distribution has no percentile, and is never zero.
    """
    if not len(values):
        raise ValueError("no values to summarize")
    array = np.asarray(values, dtype=float)
    points = np.percentile(array, PERCENTILES)
    return {
        "mean": float(array.mean()),
        **{f"p{p}": float(v) for p, v in zip(PERCENTILES, points, strict=True)},
    }


def center(engines: Sequence[Sequence[float]]) -> float:
    """The value of a metric over engines: the median of the engines' medians, in the unit of the samples.

    Args:
        engines: for each engine its samples, one per iteration; at least one engine with at least one sample.
    """
    return float(np.median([np.median(samples) for samples in engines]))


def ratio_interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.99) -> RatioInterval:
    """How many times `b` the paired samples of `a` are, with a Student interval on the log ratios.

    Pairs measured next to each other share the machine's drift, which the ratio cancels (Kalibera & Jones 2013,
    section 9, on ratios; the interval is the paired t interval of the logs).

    Args:
        a: positive samples, one per round.
        b: positive samples of the same rounds.
        confidence: two-sided level.

    Raises:
        ValueError: for samples that do not pair, none at all, or one that is not positive.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} samples do not pair with {len(b)}")
    if min(*a, *b) <= 0:
        raise ValueError("a ratio needs positive samples")
    logs = np.log(np.asarray(a, dtype=float)) - np.log(np.asarray(b, dtype=float))
    mean = float(logs.mean())
    if len(logs) == 1:
        return RatioInterval(math.exp(mean), 0.0, math.inf, confidence, 1)
    from scipy import special  # half a second that only a comparison needs

    quantile = float(special.stdtrit(len(logs) - 1, 0.5 + confidence / 2))
    half = quantile * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    with np.errstate(over="ignore"):  # an upper bound beyond all numbers is infinity
        low, middle, high = (float(bound) for bound in np.exp([mean - half, mean, mean + half]))
    return RatioInterval(middle, low, high, confidence, len(logs))
