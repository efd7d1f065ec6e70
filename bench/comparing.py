"""Claims about two engines: how often one that is exactly at the truth is SHOWN, and how often a true gap is.

    python bench/comparing.py [--trials 100000] [--seed 0]

A trial is a comparison of up to six rounds. The two engines are alike, but for a true gap. An assertion looks after
each round from the second on, and stops at the first that decides, as `compare()` does. With a history, the profile's
hyperparameters are fitted on 40 metrics x 5 sessions of the same noise; without one, only the rounds say what they
vary by. `SHOWN at the truth` claims the true ratio; `a gap of 1 %` claims a ratio that lies 1 % below the truth.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_vllmperf.stats import WALL_CLOCK, BoolArray, EngineTable, FloatArray, Prior
from pytest_vllmperf.verdict.comparison import ALPHA, MIN_ROUNDS, VAGUE, spent
from pytest_vllmperf.verdict.pairs import fit_pairs
from pytest_vllmperf.verdict.priors import fit_tables

ROUNDS: Final = 6
BLOCK: Final = 5000
HISTORY: Final = (40, 5, 3)
GAP: Final = 0.01


@dataclass(frozen=True, slots=True)
class Noise:
    """Of engines: log-normal, and a share of starts that are slower by a fraction between least and most."""

    name: str
    engine_sd: float
    slow_share: float = 0.0
    least: float = 0.10
    most: float = 0.30
    session_sd: float = 0.01


NOISES: Final = (
    Noise("quiet", 0.0025, session_sd=0.002),
    Noise("typical", 0.0163),
    Noise("outliers", 0.0163, slow_share=0.05),
    Noise("noisy", 0.034, slow_share=0.01, session_sd=0.015),
    Noise("engine sd 3 %", 0.030),
    Noise("engine sd 6 %", 0.060),
    Noise("30 % slow starts", 0.0163, slow_share=0.30, most=0.10),
)


def engines(rng: np.random.Generator, noise: Noise, shape: tuple[int, ...]) -> FloatArray:
    """Log cost of engines."""
    slow = np.where(rng.random(shape) < noise.slow_share, rng.uniform(noise.least, noise.most, shape), 0.0)
    return np.asarray(rng.normal(0, noise.engine_sd, shape) - np.log1p(-slow), dtype=np.float64)


def history(rng: np.random.Generator, noise: Noise) -> Prior:
    """The hyperparameters of a profile with this noise."""
    metrics, sessions, count = HISTORY
    levels = np.repeat(rng.normal(0, noise.session_sd, (metrics, sessions)), count, axis=1)
    table = EngineTable(
        levels + engines(rng, noise, (metrics, sessions * count)), (count,) * sessions, np.zeros(metrics)
    )
    return fit_tables([(table, None)], WALL_CLOCK, sessions=True)


def shown(gains: FloatArray, prior: Prior, gap: float) -> BoolArray:
    """Whether the claim of a ratio `gap` below the truth is SHOWN at one of the looks, before it is REFUTED."""
    decided, found = np.zeros(len(gains), dtype=np.bool_), np.zeros(len(gains), dtype=np.bool_)
    alone = np.zeros(len(gains), dtype=np.bool_)
    for rounds in range(MIN_ROUNDS, ROUNDS + 1):
        model = fit_pairs(gains[:, :rounds], prior, None, alone)
        reach = model.prediction.reach(1 - spent(rounds, ROUNDS, ALPHA))
        ahead = model.difference + gap
        found |= ~decided & (ahead >= reach)
        decided |= (ahead >= reach) | (ahead < -reach)
    return found


def row(noise: Noise, trials: int, seed: int, *, with_history: bool) -> str:
    """One row of the table."""
    rng = np.random.default_rng(seed)
    counts, done = np.zeros(3), 0
    while done < trials:
        count = min(BLOCK, trials - done)
        prior = history(rng, noise) if with_history else VAGUE
        gains = engines(rng, noise, (count, ROUNDS)) - engines(rng, noise, (count, ROUNDS))
        gaps = (0.0, math.log1p(GAP), -math.log1p(-2 * GAP))
        counts += [shown(gains, prior, gap).sum() for gap in gaps]
        done += count
    shares = counts / done
    errors = np.sqrt(shares * (1 - shares) / done)
    cells = [f"{100 * share:.2f} ± {100 * error:.2f}" for share, error in zip(shares, errors, strict=True)]
    return f"| {noise.name} | {'yes' if with_history else 'no'} | {' | '.join(cells)} |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Simulate claims about two engines.")
    parser.add_argument("--trials", type=int, default=100_000, help="per row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"{asked.trials} trials a row, seed {asked.seed}; per cent SHOWN within {ROUNDS} rounds\n")
    print("| noise | history | at the truth | a gap of 1 % | identical, not slower by 2 % |\n|---|---|---|---|---|")
    for noise in NOISES:
        for with_history in (True, False):
            print(row(noise, asked.trials, asked.seed, with_history=with_history), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
