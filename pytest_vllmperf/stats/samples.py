"""From raw samples (sessions, engines, iterations) to one value per engine in log units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Final

import numpy as np

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats.robust import FloatArray, hodges_lehmann, hodges_lehmann_variance

Engines = Sequence[Sequence[float]]
Sessions = Sequence[Engines]
Shape = tuple[tuple[int, ...], ...]

# Standard deviation assumed between iterations where no engine has two of them.
ITERATION_SD: Final = 0.02


class Direction(Enum):
    """Which way a metric is better."""

    HIGHER = "higher"
    LOWER = "lower"

    @property
    def sign(self) -> int:
        """The sign s in z = s log(x): in z, larger is always worse."""
        return -1 if self is Direction.HIGHER else 1


@dataclass(frozen=True, slots=True)
class FlatSamples:
    """The samples of one metric in one row, with the shape they came in.

    values: shape (total,), the metric's own unit, sessions in order, engines in order within them.
    shape: iterations of each engine, by session.
    """

    values: FloatArray
    shape: Shape

    @property
    def engines(self) -> int:
        """Number of engines."""
        return sum(len(session) for session in self.shape)

    @property
    def iterations(self) -> int:
        """Median number of iterations of an engine, the lower one where two are in the middle."""
        counts = sorted(chain.from_iterable(self.shape))
        return counts[(len(counts) - 1) // 2]


@dataclass(frozen=True, slots=True)
class EngineTable:
    """Engine values of B metrics that share one layout.

    values: shape (B, N), z = +-log(x), larger is worse; engines of a session are neighbours.
    layout: engines per session, summing to N.
    within: shape (B,), variance that an engine's value has from its iterations alone (log units squared).
    """

    values: FloatArray
    layout: tuple[int, ...]
    within: FloatArray


def flatten(sessions: Sessions, metric: str) -> FlatSamples:
    """Check and flatten nested samples.

    Args:
        sessions: sessions -> engines -> iterations after warm-up; positive numbers in any one unit.
        metric: name used in the error.

    Raises:
        SampleError: nothing there, an empty session or engine, or a sample that is not a positive finite
            number; its `position` is (session, engine, iteration).
    """
    try:
        shape = tuple(tuple(map(len, session)) for session in sessions)
    except TypeError:
        raise SampleError(metric, "samples must be nested as sessions, engines, iterations") from None
    if not shape or not all(shape) or not all(map(all, shape)):
        raise _emptiness(shape, metric)
    total = sum(map(sum, shape))
    samples = chain.from_iterable(chain.from_iterable(sessions))
    try:
        values = np.fromiter(samples, dtype=np.float64, count=total)
    except (TypeError, ValueError, OverflowError):
        raise _first_bad(sessions, metric) from None
    if not (values.min() > 0 and values.max() < math.inf):  # a NaN fails both
        raise _first_bad(sessions, metric)
    return FlatSamples(values, shape)


def _emptiness(shape: Shape, metric: str) -> SampleError:
    if not shape:
        return SampleError(metric, "no sessions")
    session = next(index for index, engines in enumerate(shape) if not all(engines) or not engines)
    if not shape[session]:
        return SampleError(metric, "a session without engines", (session,))
    return SampleError(metric, "an engine without iterations", (session, shape[session].index(0)))


def _first_bad(sessions: Sessions, metric: str) -> SampleError:
    position, value = next(
        ((session, engine, iteration), value)
        for session, engines in enumerate(sessions)
        for engine, iterations in enumerate(engines)
        for iteration, value in enumerate(iterations)
        if not _is_positive(value)
    )
    return SampleError(metric, f"{value!r} is not a positive finite number", position)


def _is_positive(value: object) -> bool:
    try:
        return 0 < float(value) < math.inf  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


def tabulate(samples: Sequence[FlatSamples], directions: Sequence[Direction]) -> EngineTable:
    """Engine values of metrics of one shape: the Hodges-Lehmann estimate of z = +-log(x) per engine.

    Args:
        samples: B metrics, all of the shape of the first.
        directions: one per metric.
    """
    shape = samples[0].shape
    signs = np.array([direction.sign for direction in directions], dtype=np.float64)
    logs = np.log(np.stack([metric.values for metric in samples]))
    logs *= signs[:, np.newaxis]
    counts = np.array(list(chain.from_iterable(shape)))
    values = np.empty((len(samples), len(counts)))
    variances = np.full(values.shape, np.nan)
    starts = np.cumsum(counts) - counts
    for count in np.unique(counts):
        engines = np.flatnonzero(counts == count)
        block = logs[:, starts[engines][:, np.newaxis] + np.arange(count)]
        values[:, engines] = hodges_lehmann(block)
        if count > 1:
            variances[:, engines] = block.var(axis=2, ddof=1)
    within = _iteration_variance(variances) * np.mean([hodges_lehmann_variance(int(n)) for n in counts])
    return EngineTable(values, tuple(len(session) for session in shape), within)


def _iteration_variance(variances: FloatArray) -> FloatArray:
    """Iteration variance per metric: the median over its engines, so that few engines' outliers do not count.

    variances: shape (B, N), NaN for engines of one iteration.
    """
    known = ~np.isnan(variances[0])
    if not known.any():
        return np.full(len(variances), ITERATION_SD**2)
    return np.asarray(np.median(variances[:, known], axis=1), dtype=np.float64)
