"""Whether "detects a slowdown of x %" is true: by how much the stated figure would have to be multiplied.

    python bench/detectable.py [--metrics 4000] [--seed 0]

Metrics of one profile, their noise varying log-normally (0.5) between them. Each is slowed down by a multiple of what
its own baseline states, and judged as in a run. The statement is for a chance of 80 %; the table says at which multiple
80 % are found: 1.00 is right, below 1 the statement is too careful.
"""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial
from typing import Final

import numpy as np

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import (
    WALL_CLOCK,
    Direction,
    EngineTable,
    FloatArray,
    NoiseModel,
    against_centre,
    detectable_change,
    fit,
    predict,
)
from pytest_vllmperf.verdict import CODES, Outcome, RuleSettings, family_a_fail, look, run_course
from pytest_vllmperf.verdict.priors import SESSIONS_TO_FIT, fit_tables

ENGINES: Final = 3
SESSIONS: Final = (1, 2, 3, 5, 10, 20)
MULTIPLES: Final = tuple(np.arange(0.7, 1.45, 0.05))
RED: Final = (CODES[Status.REGRESSED], CODES[Status.DRIFTED])
NOISES: Final = {"quiet, margin 1 %": (0.002, 0.0025, 0.01), "typical, margin 5 %": (0.010, 0.0163, 0.05)}
GATED: Final = (1, 80)


def _look(model: NoiseModel, new: FloatArray, margin: FloatArray, settings: RuleSettings, count: int) -> Outcome:
    return look(model, new[:, :count], margin, settings)


def found(noise: tuple[float, float, float], sessions: int, gated: int, metrics: int, seed: int) -> list[float]:
    """The share that is found at each of the multiples."""
    session_sd, engine_sd, margin = noise
    rng = np.random.default_rng(seed)
    factor = np.exp(0.5 * rng.standard_normal((metrics, 1)))

    def drawn(count: int, engines: int) -> FloatArray:
        levels = np.repeat(session_sd * factor * rng.standard_normal((metrics, count)), engines, axis=1)
        return np.asarray(levels + engine_sd * factor * rng.standard_normal((metrics, count * engines)), np.float64)

    table = EngineTable(drawn(sessions, ENGINES), (ENGINES,) * sessions, np.zeros(metrics))
    prior = fit_tables([(table, None)], WALL_CLOCK, sessions=sessions >= SESSIONS_TO_FIT)
    settings = RuleSettings(margin=margin, a_fail=family_a_fail(gated), prior=prior)
    model, new = fit(table, prior), drawn(1, settings.max_engines)
    log_margin = np.full(metrics, settings.log_margin(Direction.HIGHER))
    prediction = predict(model.weights, against_centre(model, settings.max_engines))
    stated = detectable_change(prediction, log_margin, settings.a_fail, settings.power)[:, np.newaxis]
    shares = []
    for multiple in MULTIPLES:
        course = run_course(partial(_look, model, new + multiple * stated, log_margin, settings), metrics, settings)
        shares.append(float(np.isin(course.codes, RED).mean()))
    return shares


def multiple_of(shares: list[float], power: float) -> float:
    """The multiple at which so many are found; NaN beyond the range."""
    above = next((place for place, share in enumerate(shares) if share >= power), None)
    if above is None or above == 0:
        return math.nan
    low, high = shares[above - 1], shares[above]
    return float(MULTIPLES[above - 1] + (power - low) / (high - low) * (MULTIPLES[above] - MULTIPLES[above - 1]))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Check what baselines state that they detect.")
    parser.add_argument("--metrics", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"{asked.metrics} metrics a row, seed {asked.seed}\n")
    print("| noise | gated | stored sessions | found at what is stated | 80 % are found at |\n|---|---|---|---|---|")
    for name, noise in NOISES.items():
        for gated in GATED:
            for sessions in SESSIONS:
                shares = found(noise, sessions, gated, asked.metrics, asked.seed)
                at_stated = shares[int(np.argmin(np.abs(np.array(MULTIPLES) - 1)))]
                print(
                    f"| {name} | {gated} | {sessions} | {at_stated:.1%} | {multiple_of(shares, 0.8):.2f} times that |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
