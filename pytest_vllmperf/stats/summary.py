"""What one distribution comes to: mean and percentiles; and the plain value of a metric over engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_vllmperf.stats.robust import FloatArray

PERCENTILES = (50, 90, 95, 99)


def summarize(values: Sequence[float] | FloatArray) -> dict[str, float]:
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
