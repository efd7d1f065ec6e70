"""Two engines against each other, measured in turns: a ratio with bounds, and claims about it.

An assertion looks after every round, and stops at the first that decides. So the error is spent over the looks: the
bounds after each round hold together, whenever one stops. Source: error spending, Lan and DeMets, "Discrete sequential
boundaries for clinical trials", 1983, with the power family of Kim and DeMets, "Design and analysis of group sequential
tests based on the type I error spending rate function", 1987.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats import Direction, FloatArray, Prior, Spread, posterior, predict, tabulate
from pytest_vllmperf.verdict.decision import flatten_engines
from pytest_vllmperf.verdict.pairs import fit_pairs, pair_effects
from pytest_vllmperf.verdict.priors import HISTORY_METRICS, SESSIONS_TO_FIT

ALPHA: Final = 0.005
"""Error probability of each bound over all looks: together they are a 99 % interval."""
MIN_ROUNDS: Final = 2
"""One round says nothing of what rounds vary by: without a prior that says it, two are needed."""
_MAX_ROUNDS: Final = 6
# How many rounds are looked ahead for "rounds that would decide".
_MOST_ROUNDS: Final = 1000
_SPENDING_POWER: Final = 3
VAGUE: Final = Prior(engine_sd=0.01, engine_spread=100.0, session_sd=0.01, session_spread=100.0, floor=0.0003)
"""Every standard deviation from 0.03 % to 30 % is equally likely: only the rounds say what they vary by."""


def known_noise(prior: Prior | None) -> Prior:
    """What a profile says of engine noise; VAGUE where it has no history, or one of too few metrics and sessions."""
    enough = prior is not None and prior.metrics >= HISTORY_METRICS and prior.sessions >= SESSIONS_TO_FIT
    return prior if prior is not None and enough else VAGUE


def spent(rounds: int, max_rounds: int, alpha: float) -> float:
    """The share of alpha that the look after so many rounds has: alpha ((r / R)^3 - ((r - 1) / R)^3).

    The first look is after two rounds, and has that of the first round too; only a comparison of one round in all is
    looked at after it. All shares add up to alpha, so that by the union bound all bounds hold together with 1 - alpha.
    """
    before = rounds - 1 if rounds > MIN_ROUNDS else 0
    return float(alpha * (rounds**_SPENDING_POWER - before**_SPENDING_POWER) / max_rounds**_SPENDING_POWER)


class ClaimOutcome(Enum):
    """Whether the data bear out a claim about a ratio."""

    SHOWN = "SHOWN"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that a is at least `ratio` times as good as b.

    rounds_to_decide: rounds in all after which it would be decided if the estimate stayed where it is; the rounds
    measured where it is decided; None where even a thousand would not do.
    """

    outcome: ClaimOutcome
    ratio: float
    rounds_to_decide: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times as good a is as b: throughput of a over b, or latency of b over a.

    log_ratio: estimate of its logarithm. engine_variance: of one engine, as the rounds show it, log units squared.
    multimodal: whether the rounds come in groups. rounds: measured. max_rounds: after how many no further look is
    taken. alpha: error probability on each side, over all looks. prior: hyperparameters of the profile; VAGUE where it
    has no history.
    """

    metric: str
    direction: Direction
    log_ratio: float
    engine_variance: float
    multimodal: bool
    rounds: int
    max_rounds: int
    alpha: float
    prior: Prior

    @property
    def ratio(self) -> float:
        """The estimate; above 1 a is better."""
        return math.exp(self.log_ratio)

    @property
    def low(self) -> float:
        """Lower confidence bound of the ratio, one-sided error alpha over all looks."""
        return math.exp(self.log_ratio - self._reach(self.rounds))

    @property
    def high(self) -> float:
        """Upper confidence bound of the ratio, one-sided error alpha over all looks."""
        return math.exp(self.log_ratio + self._reach(self.rounds))

    @property
    def confidence(self) -> float:
        """Of the two bounds together, such as 0.99."""
        return 1 - 2 * self.alpha

    @property
    def from_history(self) -> bool:
        """Whether the profile's baselines said what engines vary by, beside the rounds."""
        return self.prior is not VAGUE

    def _reach(self, rounds: int) -> float:
        """Half the interval after so many rounds, log units, if they vary as those measured."""
        error = spent(rounds, max(rounds, self.max_rounds), self.alpha)
        seen, zero = np.array([self.engine_variance]), np.zeros(1)
        weights = posterior(Spread(seen, np.array([rounds - 1.0]), zero, zero, zero), self.prior)
        effects = pair_effects(rounds, np.array([self.multimodal]))
        return float(predict(weights, effects).reach(1 - error)[0])

    def at_least(self, ratio: float) -> Claim:
        """Claim that a is at least `ratio` times as good as b: SHOWN if the lower bound reaches it.

        REFUTED if the upper bound stays below, INCONCLUSIVE in between.

        Raises:
            ValueError: for a ratio that is not a positive finite number.
        """
        if not 0 < ratio < math.inf:
            raise ValueError(f"ratio must be a positive number, not {ratio}")
        gap = self.log_ratio - math.log(ratio)
        reach = self._reach(self.rounds)
        if gap >= reach:
            return Claim(ClaimOutcome.SHOWN, ratio, self.rounds)
        if gap < -reach:
            return Claim(ClaimOutcome.REFUTED, ratio, self.rounds)
        return Claim(ClaimOutcome.INCONCLUSIVE, ratio, self._rounds_to_decide(abs(gap)))

    def _rounds_to_decide(self, gap: float) -> int | None:
        """The first number of rounds whose interval is narrower than the gap; halves the range until it is found."""
        if self._reach(_MOST_ROUNDS) >= gap:
            return None
        too_few, enough = self.rounds, _MOST_ROUNDS
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            if self._reach(middle) < gap:
                enough = middle
            else:
                too_few = middle
        return enough

    def not_slower(self, margin: float) -> Claim:
        """Claim that a is at most `margin` (a fraction, 0 <= margin < 1) worse than b.

        Raises:
            ValueError: for a margin outside that range.
        """
        if not 0 <= margin < 1:
            raise ValueError(f"margin must be at least 0 and below 1, not {margin}")
        return self.at_least(1 - margin)


def compare(
    metric: str,
    direction: Direction,
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    *,
    prior: Prior = VAGUE,
    max_rounds: int = _MAX_ROUNDS,
    alpha: float = ALPHA,
) -> Comparison:
    """Ratio of two engines from rounds, in each of which a fresh engine of both was measured in turns.

    A round's log ratio is the difference of the two Hodges-Lehmann values. Divided by sqrt(2) it varies as one engine
    does. Sessions cancel within a round. Source: paired differences under Kalibera and Jones, 2013.

    Args:
        metric: its name, for the record.
        direction: which way it is better.
        a: rounds -> iterations, positive, after warm-up.
        b: the same of the reference.
        prior: what the profile's baselines say of engine noise; VAGUE where there are none.
        max_rounds: after how many rounds no further look is taken.
        alpha: error probability of each bound, over all looks.

    Raises:
        SampleError: for unequal numbers of rounds, fewer than two with a VAGUE prior, or a sample that is not a
            positive finite number.
        ValueError: for an alpha outside 0 .. 0.5.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must be between 0 and 0.5, not {alpha}")
    if len(a) != len(b):
        raise SampleError(metric, f"{len(a)} rounds of a, {len(b)} of b")
    if len(a) < MIN_ROUNDS and prior is VAGUE:
        raise SampleError(metric, f"{len(a)} rounds; a comparison needs at least {MIN_ROUNDS}")
    gains = log_ratios(metric, direction, a, b)
    model = fit_pairs(gains, prior, None, np.zeros(1, dtype=np.bool_))
    return Comparison(
        metric=metric,
        direction=direction,
        log_ratio=float(model.difference[0]),
        engine_variance=float(model.engine_variance[0]),
        multimodal=bool(model.multimodal[0]),
        rounds=len(a),
        max_rounds=max(max_rounds, len(a)),
        alpha=alpha,
        prior=prior,
    )


def log_ratios(
    metric: str, direction: Direction, a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]
) -> FloatArray:
    """By how much a is better in each round, shape (1, rounds), log units."""
    costs_a = tabulate([flatten_engines(a, f"{metric} (a)")], [direction]).values
    costs_b = tabulate([flatten_engines(b, f"{metric} (b)")], [direction]).values
    return np.asarray(costs_b - costs_a, dtype=np.float64)
