"""The knee of a curve of throughput over load, with its interval. Pure.

The rule: the knee is the smallest load that was measured whose throughput is at least 95 % of the best throughput of
the curve. R. Jain, The Art of Computer Systems Performance Analysis (1991), chapter 3, calls the point beyond which
throughput gains little while response time grows the knee; the share that counts as little is ours. A rule by
curvature, such as Kneedle (Satopaa et al., 2011), depends on where the grid of loads ends; this one does so only while
throughput grows.

The throughput of a load is the mean over engines of the mean over iterations, of its logarithm. All loads were measured
on the same engines, so that what makes one engine faster than another falls on all of them alike. The interval comes
from resampling (B. Efron, The Annals of Statistics 7, 1979): engines with replacement, the same for all loads, and
iterations of each load with replacement. With one engine it holds for that engine.
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
            Engines have the same order at all loads; those that not all loads have are left out.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    engines = min(map(len, curve))
    logs = [[np.log(np.asarray(engine, dtype=float)) for engine in load[:engines]] for load in curve]
    levels = np.array([np.mean([engine.mean() for engine in load]) for load in logs])
    chosen = rng.integers(engines, size=(DRAWS, engines))
    drawn = np.stack([_resampled(load, chosen, rng) for load in logs], axis=1)
    places = _knees(drawn)
    low, high = np.quantile(places, [TAIL, 1 - TAIL], method="inverted_cdf")
    index = int(_knees(levels[None, :])[0])
    return Place(index, min(index, int(low)), max(index, int(high)))


def _knees(levels: FloatArray) -> npt.NDArray[np.intp]:
    """For each row of logarithms the first column within the share of the row's best."""
    best = levels.max(axis=1, keepdims=True)
    found: npt.NDArray[np.intp] = np.argmax(levels >= best + np.log(SHARE) - 1e-12, axis=1)
    return found


def _resampled(load: Sequence[FloatArray], chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """The level of one load in each draw: the engines are chosen, and iterations of each are drawn."""
    means = np.stack([_means(engine, rng) for engine in load], axis=1)
    found: FloatArray = np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    return found


def _means(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    found: FloatArray = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    return found
