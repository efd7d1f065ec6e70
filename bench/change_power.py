"""How often change points are false, and after how many runs a step is found, for noise of 1 % between runs.

python bench/change_power.py [--series N]
"""

from __future__ import annotations

import argparse

import numpy as np

from pytest_vllmperf.history.finding import MIN_CHANGE
from pytest_vllmperf.stats.changes import change_points

NOISE = 0.01
BEFORE = 30
MOST = 15


def false_alarms(rng: np.random.Generator, runs: int, number: int) -> float:
    """The share of series without a change in which one is found."""
    series = [np.exp(rng.normal(0, NOISE, runs)) for _ in range(number)]
    return sum(bool(change_points(one, min_magnitude=MIN_CHANGE)) for one in series) / number


def runs_until_found(rng: np.random.Generator, change: float, number: int) -> list[float]:
    """Runs on a new level until the list shows a change there; `MOST + 1` for later."""
    found = []
    for _ in range(number):
        values = np.exp(rng.normal(0, NOISE, BEFORE + MOST))
        values[BEFORE:] *= 1 + change
        shown = (
            new
            for new in range(1, MOST + 1)
            if any(one.at >= BEFORE - 2 for one in change_points(values[: BEFORE + new], min_magnitude=MIN_CHANGE))
        )
        found.append(float(next(shown, MOST + 1)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=int, default=1000)
    number, rng = parser.parse_args().series, np.random.default_rng(17)
    for runs in (20, 50, 100, 200):
        print(f"{runs} runs without a change: one is found in {false_alarms(rng, runs, number):.1%} of series")
    for change in (-0.02, -0.03, -0.05, -0.1):
        half, most = np.quantile(runs_until_found(rng, change, number // 4), [0.5, 0.9])
        print(
            f"a step of {change:.0%} after {BEFORE} runs: found after {half:g} runs, in 90 % of series after {most:g}"
        )


if __name__ == "__main__":
    main()
