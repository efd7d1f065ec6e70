"""What limma's own priors would find: inverse chi-squared, with Student's t, beside the grid of log-normal ones.

    python -m bench.closed_form [--runs 400] [--seed 0]

The same draws as the suite "quiet GPU" of `bench/suites.py`, three stored sessions. The closed form is given an
advantage: it knows the true hyperparameters, and no early OK ends its looks. Its error budget is divided by 1, 2 and 4,
so that both can be compared at the same share of red runs.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtrit

from bench.suites import ENGINES, NEW, QUIET, Draw, draw
from pytest_vllmperf.stats import BoolArray, Direction, FloatArray, location_variance
from pytest_vllmperf.stats.robust import hodges_lehmann
from pytest_vllmperf.verdict import RuleSettings, family_a_fail

SESSIONS: Final = 3
SLOWDOWN: Final = 0.02
# A standard deviation that varies log-normally by 0.5 has a variance whose logarithm varies by 1.
PRIOR_DF: Final = 2 * float(brentq(lambda half: polygamma(1, half) - (2 * QUIET.by_metric) ** 2, 0.1, 50))


@dataclass(frozen=True, slots=True)
class Moderated:
    """Moderated variances and their degrees of freedom, arrays of shape (metrics,)."""

    centre: FloatArray
    session: FloatArray
    session_df: FloatArray
    engine: FloatArray
    engine_df: float


def _prior(sd: float) -> float:
    """The scale whose inverse chi-squared distribution has this median-like logarithm."""
    return sd**2 * math.exp(float(digamma(PRIOR_DF / 2)) - math.log(PRIOR_DF / 2))


def moderated(drawn: Draw) -> Moderated:
    """Smyth, 2004, for both components; the session's degrees of freedom after Satterthwaite."""
    values = drawn.stored.reshape(len(drawn.stored), SESSIONS, ENGINES)
    means = values.mean(axis=2)
    engine_df = SESSIONS * (ENGINES - 1)
    squares = ((values - means[:, :, np.newaxis]) ** 2).sum(axis=(1, 2))
    engine = (PRIOR_DF * _prior(QUIET.engine_sd) + squares) / (PRIOR_DF + engine_df)
    prior = _prior(QUIET.session_sd)
    seen = np.maximum(means.var(axis=1, ddof=1) - engine / ENGINES, 0)
    session_df = (SESSIONS - 1) * (prior / (prior + engine / ENGINES)) ** 2
    session = (PRIOR_DF * prior + session_df * seen) / (PRIOR_DF + session_df)
    return Moderated(means.mean(axis=1), session, PRIOR_DF + session_df, engine, PRIOR_DF + engine_df)


def regressed(model: Moderated, new: FloatArray, a_fail: float) -> BoolArray:
    """Whether one of the looks after three to six engines finds a regression."""
    margin = RuleSettings(margin=QUIET.margin).log_margin(Direction.HIGHER)
    found = np.zeros(len(new), dtype=np.bool_)
    for count in range(3, NEW + 1):
        seen = new[:, :count]
        at = np.median(seen, axis=1) if count == 3 else hodges_lehmann(seen)
        by_session = model.session * (1 + 1 / SESSIONS)
        by_engine = model.engine * (location_variance(count) + 1 / (SESSIONS * ENGINES))
        variance = by_session + by_engine
        df = variance**2 / (by_session**2 / model.session_df + by_engine**2 / model.engine_df)
        difference = at - model.centre
        found |= (difference > margin) & (difference > stdtrit(df, 1 - a_fail) * np.sqrt(variance))
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Limma's closed form on the draws of a quiet suite.")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| a_fail divided by | red runs | found at -2 % |\n|---|---|---|")
    for divisor in (1, 2, 4):
        rng, red, found = np.random.default_rng(asked.seed), 0, 0
        a_fail = family_a_fail(QUIET.gated) / divisor
        for _ in range(asked.runs):
            drawn = draw(rng, QUIET, SESSIONS)
            model = moderated(drawn)
            red += bool(regressed(model, drawn.new, a_fail).any())
            found += int(regressed(model, drawn.new - math.log1p(-SLOWDOWN), a_fail).sum())
        print(f"| {divisor} | {red / asked.runs:.2%} | {found / asked.runs / QUIET.gated:.1%} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
