"""Two engines against each other, measured in turns: a ratio with bounds, and claims about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats import Direction, EngineTable, FloatArray, fit, t_quantile, tabulate
from pytest_vllmperf.verdict.decision import flatten_engines

ALPHA: Final = 0.005
"""Error probability of each bound: together they are a 99 % interval."""
# How many rounds are looked ahead for "rounds that would decide".
_MOST_ROUNDS: Final = 1000


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

    log_ratio: estimate of its logarithm. round_variance: of one round's log ratio, with round_df degrees of freedom.
    alpha: error probability on each side.
    """

    metric: str
    direction: Direction
    log_ratio: float
    round_variance: float
    round_df: float
    rounds: int
    alpha: float

    @property
    def ratio(self) -> float:
        """The estimate; above 1 a is better."""
        return math.exp(self.log_ratio)

    @property
    def low(self) -> float:
        """Lower confidence bound of the ratio, one-sided error alpha."""
        return math.exp(self.log_ratio - self._reach(self.rounds))

    @property
    def high(self) -> float:
        """Upper confidence bound of the ratio, one-sided error alpha."""
        return math.exp(self.log_ratio + self._reach(self.rounds))

    @property
    def confidence(self) -> float:
        """Of the two bounds together, such as 0.99."""
        return 1 - 2 * self.alpha

    def _reach(self, rounds: int) -> float:
        return float(self._reaches(np.array([float(rounds)]))[0])

    def _reaches(self, rounds: FloatArray) -> FloatArray:
        """Half the interval after so many rounds, log units: Student-t, a degree of freedom more for each of them."""
        df = self.round_df + (rounds - self.rounds)
        error: FloatArray = np.sqrt(self.round_variance / rounds)
        return t_quantile(df, 1 - self.alpha) * error

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
        ahead = np.arange(self.rounds + 1, _MOST_ROUNDS + 1, dtype=np.float64)
        deciding = ahead[self._reaches(ahead) < abs(gap)]
        return Claim(ClaimOutcome.INCONCLUSIVE, ratio, int(deciding[0]) if len(deciding) else None)

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
    alpha: float = ALPHA,
) -> Comparison:
    """Ratio of two engines from rounds, in each of which a fresh engine of both was measured in turns.

    A round's log ratio is the difference of the two Hodges-Lehmann values. Divided by sqrt(2) it varies as one engine
    does, so the baseline's model serves: prior, winsorising and modality guard included. Sessions cancel within a
    round. Source: paired differences under Kalibera and Jones, 2013.

    Args:
        metric: its name, for the record.
        direction: which way it is better.
        a: rounds -> iterations, positive, after warm-up.
        b: the same of the reference.
        alpha: error probability of each bound.

    Raises:
        SampleError: for unequal numbers of rounds, none, or a sample that is not a positive finite number.
        ValueError: for an alpha outside 0 .. 0.5.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not {alpha}")
    if len(a) != len(b):
        raise SampleError(metric, f"{len(a)} rounds of a, {len(b)} of b")
    model = fit(_ratios(metric, direction, a, b))
    return Comparison(
        metric=metric,
        direction=direction,
        log_ratio=math.sqrt(2) * float(model.centre[0]),
        round_variance=2 * float(model.engine_variance[0]),
        round_df=float(model.engine_df[0]),
        rounds=len(a),
        alpha=alpha,
    )


def _ratios(
    metric: str, direction: Direction, a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]
) -> EngineTable:
    """Log ratios of the rounds over sqrt(2), as if they were the engines of one session."""
    costs_a = tabulate([flatten_engines(a, f"{metric} (a)")], [direction])
    costs_b = tabulate([flatten_engines(b, f"{metric} (b)")], [direction])
    scaled = (costs_b.values - costs_a.values) / math.sqrt(2)
    return EngineTable(scaled, (len(a),), (costs_a.within + costs_b.within) / 2)
