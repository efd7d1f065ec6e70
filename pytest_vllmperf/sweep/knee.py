"""The knee of a curve of throughput over load, with its interval. Pure.

The rule: the knee is the smallest load that was measured whose throughput is at least 95 % of the best throughput of
the curve. R. Jain, The Art of Computer Systems Performance Analysis (1991), chapter 3, calls the point beyond which
throughput gains little while response time grows the knee; the share that counts as little is ours. A rule by
curvature, such as Kneedle (Satopaa et al., 2011), depends on where the grid of loads ends; this one does so only while
throughput grows.

The throughput of a load is the mean over engines of the mean over iterations, of its logarithm. The interval comes from
resampling: engines with replacement, and iterations of each with replacement. With one engine it holds for that engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
SHARE: Final = 0.95
"""Of the best throughput, that the knee has at least."""
DRAWS: Final = 1000
TAIL: Final = 0.025
"""Share of draws beyond each end of the interval."""
FEWEST_LOADS: Final = 3
"""Fewer loads make no curve."""

Engines = Sequence[Sequence[float]]
"""Throughput at one load: for each engine one value per iteration, all above 0."""


@dataclass(frozen=True)
class Place:
    """A knee as places in the grid of loads.

    Attributes:
        index: of the knee.
        low: of the lower end of its 95 % interval.
        high: of the upper end.
    """

    index: int
    low: int
    high: int


def find_knee(curve: Sequence[Engines], seed: int = 0) -> Place:
    """The knee of a curve.

    Args:
        curve: throughput at each load, loads ascending; at least one load, each with an engine and an iteration.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    levels = np.array([np.mean([np.mean(np.log(engine)) for engine in load]) for load in curve])
    drawn = np.stack([_resampled(load, rng) for load in curve], axis=1)
    places = _knees(drawn)
    low, high = np.quantile(places, [TAIL, 1 - TAIL], method="inverted_cdf")
    index = int(_knees(levels[None, :])[0])
    return Place(index, min(index, int(low)), max(index, int(high)))


def _knees(levels: FloatArray) -> npt.NDArray[np.intp]:
    """For each row of logarithms the first column within the share of the row's best."""
    best = levels.max(axis=1, keepdims=True)
    found: npt.NDArray[np.intp] = np.argmax(levels >= best + np.log(SHARE) - 1e-12, axis=1)
    return found


def _resampled(load: Engines, rng: np.random.Generator) -> FloatArray:
    """Levels of one load in each draw: engines are drawn, and iterations of each."""
    means = np.stack([_means(np.log(np.asarray(engine, dtype=float)), rng) for engine in load], axis=1)
    chosen = rng.integers(len(load), size=(DRAWS, len(load)))
    found: FloatArray = np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    return found


def _means(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    found: FloatArray = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    return found
