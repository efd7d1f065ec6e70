"""The decision rule, on arrays: status codes out of a noise model and the values of new engines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import (
    WALL_CLOCK,
    Direction,
    FloatArray,
    NoiseModel,
    Prediction,
    Prior,
    against_centre,
    location,
    predict,
)
from pytest_vllmperf.verdict.creep import Creep, creep
from pytest_vllmperf.verdict.pairs import PairModel

IntArray = NDArray[np.int64]


RUN_BUDGET: Final = 0.05
"""Chance that a run in which nothing changed is red."""
A_FAIL: Final = 0.005
DRIFT_SHARE: Final = 0.25
"""Of a_fail, for each of the two questions about creeping."""
MIN_ENGINES: Final = 3
MAX_ENGINES: Final = 6

# Arrays hold positions in this tuple.
STATUSES: Final = tuple(Status)
CODES: Final = {status: code for code, status in enumerate(STATUSES)}


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """How one metric is judged.

    margin: smallest change that matters, a fraction of the baseline (0.05 is 5 %).
    a_fail: chance of a false REGRESSED per look, one-sided; looks for creeping have a quarter of it.
    a_pass: chance of a wrong OK at the margin.
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
                raise ValueError(f"{name} must be between 0 and 0.5, not {getattr(self, name)}")
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
    """a_fail for each of so many gated metrics: min(0.005, 0.05 / (2.5 metrics)).

    Source: Bonferroni; a run in which nothing changed fails in at most 5 % of the cases. The 2.5 pays for the looks: up
    to four at a regression spend 1.5 a_fail, and the two questions about creeping half an a_fail (bench/simulate.py).

    Raises:
        ValueError: fewer than one metric.
    """
    if gated_metrics < 1:
        raise ValueError(f"gated_metrics must be at least 1, not {gated_metrics}")
    return min(A_FAIL, RUN_BUDGET / (2.5 * gated_metrics))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One look at B metrics; arrays of shape (B,), log units, larger is worse.

    codes: positions in STATUSES. difference: d, new engines minus baseline. fail_reach: what d is not beyond by chance,
    at 1 - a_fail. pass_reach: the same at 1 - a_pass. loss: what crept in since the last update. crept: how that was
    found.
    """

    codes: IntArray
    difference: FloatArray
    fail_reach: FloatArray
    pass_reach: FloatArray
    loss: FloatArray
    crept: Creep


def look(model: NoiseModel, new: FloatArray, log_margin: FloatArray, settings: RuleSettings) -> Outcome:
    """Apply the rule to the engines measured so far.

    With d the difference, q(p) the quantile of what d is where nothing changed, and M the log margin: REGRESSED if
    d > M and d > q(1 - a_fail), IMPROVED the mirror, OK if d + q(1 - a_pass) < M, else UNDECIDED, which after
    `max_engines` is NOISY. DRIFTED where a decline since the update is beyond margin and chance, and the new session
    itself did not jump by more than the margin. REGRESSED, DRIFTED and IMPROVED need `min_engines` on both sides:
    fewer stored engines may all come from one of several modes.

    Args:
        model: B baselines.
        new: shape (B, n), engine values, log units.
        log_margin: shape (B,), positive.
        settings: its margin is not used here, log_margin is.
    """
    count = new.shape[1]
    at = location(new, model.multimodal, model.engine_sd)
    crept = creep(model, at, count, log_margin, settings.a_fail * DRIFT_SHARE)
    prediction = predict(model.weights, against_centre(model, count))
    return _decided(at - model.centre, prediction, crept, log_margin, settings, count, model.engines)


def look_at_pairs(model: PairModel, log_margin: FloatArray, settings: RuleSettings) -> Outcome:
    """Apply the rule to engines that were each measured in turns with a reference; nothing creeps there.

    Args:
        model: B metrics in n rounds.
        log_margin: shape (B,), positive.
        settings: its margin is not used here, log_margin is.
    """
    nothing = np.zeros(len(log_margin))
    none = np.zeros(len(log_margin), dtype=np.bool_)
    crept = Creep(none, nothing, nothing, nothing, none, none)
    rounds = model.rounds
    found = _decided(model.difference, model.prediction, crept, log_margin, settings, rounds, rounds)
    # A slow start of the reference makes the new engine look fast: that needs the rounds that IMPROVED needs.
    hasty = (found.codes == CODES[Status.OK]) & (found.difference < -log_margin) & (rounds < settings.min_engines)
    unsure = CODES[Status.UNDECIDED if rounds < settings.max_engines else Status.NOISY]
    return replace(found, codes=np.where(hasty, unsure, found.codes))


def _decided(
    difference: FloatArray,
    prediction: Prediction,
    crept: Creep,
    log_margin: FloatArray,
    settings: RuleSettings,
    count: int,
    stored: int,
) -> Outcome:
    fail_reach, pass_reach = prediction.reach(1 - settings.a_fail), prediction.reach(1 - settings.a_pass)
    enough = min(count, stored) >= settings.min_engines
    far = np.maximum(log_margin, fail_reach)
    worse = difference > far
    # Most of the loss was there before, and the new session did not jump: it crept.
    slowly = (crept.jump <= log_margin) & (crept.found | (crept.before > difference / 2))
    codes = np.select(
        [
            enough & slowly & (worse | crept.found),
            enough & (worse | crept.found | crept.jumped),
            enough & (difference < -far),
            ~crept.found & ~crept.far_jump & (difference + pass_reach < log_margin),
        ],
        [CODES[Status.DRIFTED], CODES[Status.REGRESSED], CODES[Status.IMPROVED], CODES[Status.OK]],
        CODES[Status.UNDECIDED if count < settings.max_engines else Status.NOISY],
    )
    loss = np.maximum(crept.loss, difference)
    return Outcome(codes.astype(np.int64), difference, fail_reach, pass_reach, loss, crept)


@dataclass(frozen=True, slots=True)
class Course:
    """How B sequential procedures ended: positions in STATUSES and engines started, both of shape (B,)."""

    codes: IntArray
    engines: IntArray


def run_course(look_after: Callable[[int], Outcome], rows: int, settings: RuleSettings) -> Course:
    """The whole procedure on engines drawn beforehand: look after each, stop at the first final status.

    Args:
        look_after: what a look after so many engines finds, for all B metrics.
        rows: B.
        settings: as for `look`.
    """
    codes = np.full(rows, CODES[Status.UNDECIDED], dtype=np.int64)
    engines = np.zeros(rows, dtype=np.int64)
    for count in range(1, settings.max_engines + 1):
        still_open = codes == CODES[Status.UNDECIDED]
        if not still_open.any():
            break
        engines[still_open] = count
        codes[still_open] = look_after(count).codes[still_open]
    return Course(codes, engines)
