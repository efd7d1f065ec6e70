"""The decision rule, on arrays: status codes out of a noise model and the values of new engines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import Direction, FloatArray, NoiseModel, location, predict
from pytest_vllmperf.stats.prior import WALL_CLOCK, Prior

IntArray = NDArray[np.int64]


A_FAIL: Final = 0.005
MIN_ENGINES: Final = 3
MAX_ENGINES: Final = 6

# Arrays hold positions in this tuple.
STATUSES: Final = tuple(Status)
CODES: Final = {status: code for code, status in enumerate(STATUSES)}


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """How one metric is judged.

    margin: smallest change that matters, a fraction of the baseline (0.05 is 5 %).
    a_fail: chance of a false REGRESSED per look, one-sided. a_pass: the same of a wrong OK at the margin.
    min_engines: engines needed on either side for REGRESSED and IMPROVED.
    max_engines: new engines after which an open verdict is NOISY.
    power: probability for which the detectable change is stated.
    prior: the hyperparameters of the metric's class.
    """

    margin: float = 0.05
    a_fail: float = A_FAIL
    a_pass: float = 0.10
    min_engines: int = MIN_ENGINES
    max_engines: int = MAX_ENGINES
    power: float = 0.80
    prior: Prior = WALL_CLOCK

    def __post_init__(self) -> None:
        """Refuse settings that no metric could be judged by (ValueError)."""
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin must be a number of at least 0, not {self.margin}")
        for name in ("a_fail", "a_pass"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} must lie between 0 and 0.5, not {getattr(self, name)}")
        if not 0.5 <= self.power < 1:
            raise ValueError(f"power must be at least 0.5 and below 1, not {self.power}")
        for name in ("min_engines", "max_engines"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    def log_margin(self, direction: Direction) -> float:
        """M: the margin in log units, as a positive number.

        5 % less of a higher-is-better metric is -log(0.95), 5 % more of a lower-is-better one is log(1.05). No
        higher-is-better metric can fall by 100 %, so that such a margin is infinite.
        """
        if direction is Direction.LOWER:
            return math.log1p(self.margin)
        return -math.log1p(-self.margin) if self.margin < 1 else math.inf


def family_a_fail(gated_metrics: int) -> float:
    """a_fail for each of so many gated metrics: min(0.005, 0.05 / metrics).

    Source: Bonferroni; a run in which nothing changed fails in at most 5 % of the cases.

    Raises:
        ValueError: fewer than one metric.
    """
    if gated_metrics < 1:
        raise ValueError(f"gated_metrics must be at least 1, not {gated_metrics}")
    return min(A_FAIL, 0.05 / gated_metrics)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One look at B metrics; arrays of shape (B,), log units, larger is worse.

    codes: positions in STATUSES. difference: d, new engines minus baseline. fail_reach: t(1 - a_fail) s.
    """

    codes: IntArray
    difference: FloatArray
    fail_reach: FloatArray


def look(model: NoiseModel, new: FloatArray, log_margin: FloatArray, settings: RuleSettings) -> Outcome:
    """Apply the rule to the engines measured so far.

    With d the difference, s its predicted standard deviation and M the log margin: REGRESSED if d > M and
    d - t(1 - a_fail) s > 0, IMPROVED the mirror, OK if d + t(1 - a_pass) s < M, else UNDECIDED, which after
    `max_engines` is NOISY. REGRESSED and IMPROVED need `min_engines` on both sides: fewer stored engines may
    all come from one of several modes.

    Args:
        model: B baselines.
        new: shape (B, n), engine values, log units.
        log_margin: shape (B,), positive.
        settings: its margin is not used here, log_margin is.
    """
    count = new.shape[1]
    prediction = predict(model, count)
    difference = location(new, model.multimodal) - model.centre
    reach = prediction.reach(1 - settings.a_fail)
    enough = min(count, model.engines) >= settings.min_engines
    far = np.maximum(log_margin, reach)
    codes = np.select(
        [
            enough & (difference > far),
            enough & (difference < -far),
            difference + prediction.reach(1 - settings.a_pass) < log_margin,
        ],
        [CODES[Status.REGRESSED], CODES[Status.IMPROVED], CODES[Status.OK]],
        CODES[Status.UNDECIDED if count < settings.max_engines else Status.NOISY],
    )
    return Outcome(codes.astype(np.int64), difference, reach)


@dataclass(frozen=True, slots=True)
class Course:
    """How B sequential procedures ended: positions in STATUSES and engines started, both of shape (B,)."""

    codes: IntArray
    engines: IntArray


def run_course(model: NoiseModel, draws: FloatArray, log_margin: FloatArray, settings: RuleSettings) -> Course:
    """The whole procedure on engines drawn beforehand: look after each, stop at the first final status.

    Args:
        model: B baselines.
        draws: shape (B, E), E >= max_engines, the engine values that would be met, in order; log units.
        log_margin: shape (B,).
        settings: as for `look`.

    Raises:
        ValueError: fewer draws than `max_engines`.
    """
    if draws.shape[1] < settings.max_engines:
        raise ValueError(f"{settings.max_engines} engines may be needed, {draws.shape[1]} were drawn")
    codes = np.full(len(draws), CODES[Status.UNDECIDED], dtype=np.int64)
    engines = np.zeros(len(draws), dtype=np.int64)
    for count in range(1, settings.max_engines + 1):
        still_open = codes == CODES[Status.UNDECIDED]
        engines[still_open] = count
        seen = look(model, draws[:, :count], log_margin, settings)
        codes[still_open] = seen.codes[still_open]
    return Course(codes, engines)
