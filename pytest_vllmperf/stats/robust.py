"""Robust estimators over many rows at once: Hodges-Lehmann, absolute deviations, the modality guard."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]

MODAL_SHARE: Final = 0.15
MODAL_COUNT: Final = 2
MODAL_MADS: Final = 4.0

# Rows are handled in blocks of about this many pairwise sums, so that memory stays flat and caches stay warm.
_BLOCK_ELEMENTS: Final = 1 << 18

# Variance of the Hodges-Lehmann estimate of n standard normal values, n = 1 to 12, from 4 million draws each;
# beyond that pi / (3 n) is right within 2 %.
_HL_VARIANCE: Final = (
    1.0, 0.5, 0.3406, 0.2737, 0.2153, 0.1790, 0.1546, 0.1341, 0.1195, 0.1074, 0.0973, 0.0890,
)  # fmt: skip


@lru_cache(maxsize=64)
def _central_pairs(count: int) -> tuple[IntArray, IntArray, int, int]:
    """Pairs of sorted positions whose average can be the median of all, and where that median then lies.

    In a sorted row the average of positions (i, j) is at least the averages of all (a, b) with a <= i and
    b <= j. Counting those, and their mirror above, rules out most pairs before anything is sorted.
    """
    first, second = np.triu_indices(count)
    total = len(first)
    lower, upper = (total - 1) // 2, total // 2

    def not_above(i: IntArray, j: IntArray) -> IntArray:
        return np.asarray((i + 1) * (j + 1) - i * (i + 1) // 2, dtype=np.intp)

    at_most = not_above(first, second)
    at_least = not_above(count - 1 - second, count - 1 - first)
    always_below = total - at_least < lower
    always_above = at_most - 1 > upper
    kept = ~always_below & ~always_above
    skipped = int(always_below.sum())
    return first[kept], second[kept], lower - skipped, upper - skipped


def hodges_lehmann(samples: FloatArray) -> FloatArray:
    """Median of all pairwise averages, each value paired with itself too, along the last axis.

    Source: Hodges and Lehmann, "Estimates of location based on rank tests", 1963. It keeps 95 % of the
    mean's efficiency on normal data and withstands 29 % of outliers.

    Args:
        samples: shape (..., m), m >= 1, in any unit.

    Returns:
        Shape (...), same unit.

    Raises:
        ValueError: the last axis is empty.
    """
    count = samples.shape[-1]
    if count == 0:
        raise ValueError("Hodges-Lehmann needs at least one sample")
    first, second, lower, upper = _central_pairs(count)
    rows = samples.reshape(-1, count)
    estimates = np.empty(len(rows))
    block = max(1, _BLOCK_ELEMENTS // len(first))
    for start in range(0, len(rows), block):
        ordered = np.sort(rows[start : start + block], axis=1)
        sums = ordered[:, first] + ordered[:, second]
        sums.sort(axis=1)
        estimates[start : start + block] = (sums[:, lower] + sums[:, upper]) / 4
    return estimates.reshape(samples.shape[:-1])


def hodges_lehmann_variance(count: int) -> float:
    """Variance of the Hodges-Lehmann estimate of `count` independent standard normal values.

    Source: small counts by simulation; the limit pi / (3 n) from Hodges and Lehmann, 1963.
    """
    if count <= len(_HL_VARIANCE):
        return _HL_VARIANCE[count - 1]
    return math.pi / (3 * count)


def mad(residuals: FloatArray) -> FloatArray:
    """Median absolute residual of each row, shape (B,); the plain one, not scaled to a standard deviation."""
    return np.asarray(np.median(np.abs(residuals), axis=1), dtype=np.float64)


def is_multimodal(values: FloatArray, floor: float) -> BoolArray:
    """Whether 15 % or more of the values (two at least) lie beyond max(4 MAD, floor) from the median.

    Args:
        values: shape (B, N), log units.
        floor: what lies nearer is no group of its own, log units.

    Returns:
        Shape (B,).
    """
    residuals = values - np.median(values, axis=1, keepdims=True)
    limit = np.maximum(MODAL_MADS * mad(residuals), floor)[:, np.newaxis]
    far = (np.abs(residuals) > limit).sum(axis=1)
    needed = max(MODAL_COUNT, math.ceil(MODAL_SHARE * values.shape[1]))
    return np.asarray(far >= needed, dtype=np.bool_)
