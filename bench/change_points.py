"""Our change points against those of Apache Otava: agreement on random series, and vectors for the tests.

    python bench/change_points.py [--series N] [--vectors tests/stats/otava.json]

Needs apache-otava 0.8, which pins numpy: run it in an environment of its own, with this package on the path.

Otava's filter takes a change away and then tests the next two anew. The left neighbour of what is gone, whose level
grew as well, keeps its old figures. `anew` is Otava with all of them tested anew, as the paper says; ours is compared
with both. Ours also finds levels that came and went, which Otava may miss: then it has more changes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from otava.analysis import TTestSignificanceTester, compute_change_points, split

ROOT = Path(__file__).parents[1]
for name in ("pytest_vllmperf", "pytest_vllmperf.stats"):  # without what the package imports for other purposes
    module = types.ModuleType(name)
    module.__path__ = [str(ROOT.joinpath(*name.split(".")))]
    sys.modules[name] = module

from pytest_vllmperf.stats.changes import change_points  # noqa: E402

MAX_P = 0.001


def found_by_otava(values: np.ndarray, window: int, magnitude: float) -> list[Any]:
    """Otava as it was released."""
    return compute_change_points(list(map(float, values)), window, MAX_P, magnitude)[0]


def anew(values: np.ndarray, window: int, magnitude: float) -> list[Any]:
    """Otava with every change that is left tested anew after each that is taken away."""
    tester = TTestSignificanceTester(MAX_P)
    left = split(list(map(float, values)), window, MAX_P * 10)
    while left:
        between = tester.get_intervals(left)
        left = [tester.change_point(one.to_candidate(), values, between) for one in left]
        least = max(left, key=lambda one: one.stats.pvalue)
        if least.stats.pvalue < MAX_P:
            least = min(left, key=lambda one: one.stats.change_magnitude())
            if least.stats.change_magnitude() > magnitude:
                break
        left = [one for one in left if one is not least]
    return left


def told(found: list[Any]) -> list[list[float]]:
    return [
        [int(one.index), float(one.stats.pvalue), float(one.stats.mean_1), float(one.stats.mean_2)] for one in found
    ]


def random_series(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Levels that change up to five times, with noise of 0 to 3 %."""
    length, noise = int(rng.integers(2, 220)), float(rng.choice([0, 0.002, 0.01, 0.03]))
    levels = np.full(length, 100.0)
    for _ in range(int(rng.integers(0, 6))):
        levels[int(rng.integers(0, length)) :] *= 1 + float(rng.normal(0, 0.05))
    values = levels * np.exp(rng.normal(0, noise, length))
    if kind == "outliers":
        values = np.where(rng.random(length) < 0.05, values * rng.uniform(0.5, 1.5, length), values)
    if kind == "whole numbers":
        values = np.round(values)
    return values * np.linspace(1, 1.2, length) if kind == "slope" else values


def agreement(number: int) -> None:
    rng, spent = np.random.default_rng(17), Counter[str]()
    for kind in ("steps", "outliers", "whole numbers", "slope"):
        counts = Counter[str]()
        for _ in range(number):
            values = random_series(kind, rng)
            window, magnitude = int(rng.choice([30, 50])), float(rng.choice([0, 0.01, 0.05]))
            began = time.perf_counter()
            ours = [one.at for one in change_points(values, window=window, min_magnitude=magnitude)]
            spent["ours"] += time.perf_counter() - began
            began = time.perf_counter()
            released = [one.index for one in found_by_otava(values, window, magnitude)]
            spent["otava"] += time.perf_counter() - began
            counts["as released"] += ours == released
            counts["tested anew"] += ours == [one.index for one in anew(values, window, magnitude)]
            counts["with a change"] += bool(released)
        print(f"{kind}: of {number} series ({counts['with a change']} with a change) the same places in "
              f"{counts['as released']}; with Otava's filter testing all anew in {counts['tested anew']}")  # fmt: skip
    print(f"time: ours {spent['ours']:.2f} s, Otava {spent['otava']:.2f} s")


def vectors() -> list[dict[str, Any]]:
    rng = np.random.default_rng(20261129)

    def noisy(count: int, sd: float = 0.01) -> np.ndarray:
        return 100 * np.exp(rng.normal(0, sd, count))

    cases = [
        ("no change", noisy(60), 50, 0.0),
        ("one step", np.r_[noisy(40), 0.93 * noisy(25)], 50, 0.0),
        ("one step, small window", np.r_[noisy(40), 0.93 * noisy(25)], 30, 0.0),
        ("two steps", np.r_[noisy(70), 1.05 * noisy(60), 0.9 * noisy(50)], 50, 0.01),
        ("there and back", np.r_[noisy(45), 0.9 * noisy(12), noisy(40)], 50, 0.01),
        ("the newest value alone", np.r_[noisy(40, 0.003), [90.0]], 50, 0.0),
        ("the newest three values", np.r_[noisy(40), 0.95 * noisy(3)], 50, 0.0),
        ("counts", np.r_[np.full(20, 17.0), np.full(15, 18.0), np.full(9, 17.0)], 50, 0.0),
        ("constant", np.full(30, 17.0), 50, 0.0),
        ("outliers", np.where(rng.random(90) < 0.07, 1.4, 1) * noisy(90), 50, 0.01),
        ("a step below the magnitude", np.r_[noisy(50, 0.002), 1.006 * noisy(50, 0.002)], 50, 0.01),
        ("creep", np.repeat(1.004 ** np.arange(10), 12) * noisy(120, 0.002), 50, 0.01),
        ("from zero", np.r_[np.zeros(10), np.full(10, 3.0)], 50, 0.0),
        ("few", np.array([100.0, 101.0, 90.0, 91.0]), 50, 0.0),
        ("a step at the end of a window", np.r_[noisy(50), 1.08 * noisy(50)], 50, 0.0),
    ]
    made = []
    for name, exact, window, magnitude in cases:
        values = np.array([float(f"{value:.6g}") for value in exact])
        made.append(
            {
                "name": name,
                "window": window,
                "min_magnitude": magnitude,
                "values": values.tolist(),
                "released": told(found_by_otava(values, window, magnitude)),
                "anew": told(anew(values, window, magnitude)),
            }
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=int, default=500, help="of each kind")
    parser.add_argument("--vectors", type=Path, help="write vectors for the tests to this file")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of series without any spread
    if asked.vectors is None:
        agreement(asked.series)
        return
    about = (
        "made by bench/change_points.py with apache-otava 0.8.0, p 0.001; found: [index, p, mean before, mean after]"
    )
    lines = ",\n".join(json.dumps(one) for one in vectors())
    asked.vectors.write_text(f'{{"about": "{about}", "series": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
