"""Simulate the verdict rule, and the usual gates beside it, on the same seeded draws.

    python bench/simulate.py [--trials 100000] [--seed 0]

A trial draws a baseline of 5 sessions x 3 engines x 10 iterations of a throughput and six new engines of one
new session. All noise is log-normal. On top, 2 % of all iterations and 1 % of all engines, stored and new
alike, are 10 to 30 % slow (uniformly). A slowdown of r multiplies the new engines' throughput by 1 - r.

The gates beside the rule, all at their usual settings:
  naive 5 %      first new engine, mean of its iterations more than 5 % below the mean of all stored ones
  mean:5%        pytest-benchmark's --benchmark-compare-fail: mean time of the first new engine more than 5 %
                 above that of the last stored engine
  Mann-Whitney   iterations of three new engines against all stored ones, pooled, one-sided, p < 0.05
  Welch          the same with Welch's t test on log values
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from scipy.special import ndtr, stdtr

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import BoolArray, Direction, EngineTable, FlatSamples, FloatArray, NoiseModel, fit, tabulate
from pytest_vllmperf.verdict import CODES, Outcome, RuleSettings, look, run_course

SESSIONS: Final = 5
ENGINES: Final = 3
ITERATIONS: Final = 10
POOLED_ENGINES: Final = 3
SLOWDOWNS: Final = (0.0, 0.08, 0.10)
BLOCK: Final = 2000
P_VALUE: Final = 0.05
RULE: Final = "this rule"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Noise in log units, and the figures that the rule has to reach (fractions)."""

    name: str
    session_sd: float
    engine_sd: float
    iteration_sd: float
    most_false_alarms: float
    least_caught: float
    most_silent: float
    slow_mode_share: float = 0.0
    slow_mode: float = 0.10
    most_starts: tuple[float, float] = (math.inf, math.inf)


SCENARIOS: Final = (
    Scenario("typical", 0.010, 0.015, 0.020, 0.002, 0.99, 0.0001, most_starts=(1.5, 3.3)),
    Scenario("noisy", 0.015, 0.030, 0.050, 0.02, 0.80, 0.012),
    Scenario("engine spread dominates", 0.010, 0.030, 0.003, 0.01, 0.94, 0.003),
    Scenario("bimodal", 0.010, 0.015, 0.020, 0.03, 0.75, 0.001, slow_mode_share=0.30),
)


@dataclass(frozen=True, slots=True)
class Outliers:
    """Shares of iterations and of whole engines that are slow, and by how much (fractions)."""

    iterations: float = 0.02
    engines: float = 0.01
    least: float = 0.10
    most: float = 0.30


@dataclass(slots=True)
class Tally:
    """Counts over the trials of one gate at one slowdown."""

    trials: int = 0
    failed: int = 0
    passed: int = 0
    engines: int = 0

    def add(self, failed: BoolArray, passed: BoolArray, engines: int) -> None:
        """Add a block of trials, arrays of shape (trials,)."""
        self.trials += len(failed)
        self.failed += int(failed.sum())
        self.passed += int(passed.sum())
        self.engines += engines


Tallies = dict[tuple[str, float], Tally]


def _slow(rng: np.random.Generator, shape: tuple[int, ...], share: float, outliers: Outliers) -> FloatArray:
    """Log slowdown of outliers, zero elsewhere."""
    size = -np.log1p(-rng.uniform(outliers.least, outliers.most, shape))
    return np.where(rng.random(shape) < share, size, 0.0)


def draw(
    rng: np.random.Generator, scenario: Scenario, outliers: Outliers, trials: int, sessions: int, engines: int
) -> FloatArray:
    """Log cost (-log throughput) of shape (trials, sessions * engines, ITERATIONS)."""
    by_session = rng.normal(0, scenario.session_sd, (trials, sessions, 1))
    by_engine = rng.normal(0, scenario.engine_sd, (trials, sessions, engines))
    in_slow_mode = rng.random(by_engine.shape) < scenario.slow_mode_share
    by_engine -= in_slow_mode * math.log1p(-scenario.slow_mode)
    by_engine += _slow(rng, by_engine.shape, outliers.engines, outliers)
    levels = (by_session + by_engine).reshape(trials, -1, 1)
    noise = rng.normal(0, scenario.iteration_sd, (*levels.shape[:2], ITERATIONS))
    return levels + noise + _slow(rng, noise.shape, outliers.iterations, outliers)


def _table(cost: FloatArray, layout: Sequence[int]) -> EngineTable:
    """Through the same door as stored samples: throughputs in, engine values out."""
    shape = tuple((cost.shape[2],) * engines for engines in layout)
    samples = [FlatSamples(row, shape) for row in np.exp(-cost).reshape(len(cost), -1)]
    return tabulate(samples, [Direction.HIGHER] * len(samples))


def _pooled_p_values(stored: FloatArray, new: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """One-sided p values (new is slower) of the two pooled tests, each of shape (trials,)."""
    many, few = stored.shape[1], new.shape[1]
    ranks = np.argsort(np.argsort(np.concatenate([stored, new], axis=1), axis=1), axis=1)
    wins = ranks[:, many:].sum(axis=1) - few * (few - 1) / 2
    spread = math.sqrt(many * few * (many + few + 1) / 12)
    yield "Mann-Whitney", 1 - ndtr((wins - many * few / 2 - 0.5) / spread)
    of_stored, of_new = stored.var(axis=1, ddof=1) / many, new.var(axis=1, ddof=1) / few
    df = (of_stored + of_new) ** 2 / (of_stored**2 / (many - 1) + of_new**2 / (few - 1))
    yield "Welch", 1 - stdtr(df, (new.mean(axis=1) - stored.mean(axis=1)) / np.sqrt(of_stored + of_new))


def usual_gates(stored: FloatArray, new: FloatArray) -> Iterator[tuple[str, BoolArray, int]]:
    """Name, whether it fails (shape (trials,)) and engines started, of each gate beside the rule."""
    first = np.exp(-new[:, 0]).mean(axis=1)
    yield "naive 5 %", first < 0.95 * np.exp(-stored).mean(axis=(1, 2)), 1
    yield "mean:5%", np.exp(new[:, 0]).mean(axis=1) > 1.05 * np.exp(stored[:, -1]).mean(axis=1), 1
    pooled = new[:, :POOLED_ENGINES].reshape(len(new), -1)
    for name, p_value in _pooled_p_values(stored.reshape(len(stored), -1), pooled):
        yield name, p_value < P_VALUE, POOLED_ENGINES


def _look(model: NoiseModel, values: FloatArray, log_margin: FloatArray, settings: RuleSettings, count: int) -> Outcome:
    return look(model, values[:, :count], log_margin, settings)


def simulate(
    scenario: Scenario, trials: int, seed: int, outliers: Outliers | None = None, *, beside: bool = True
) -> Tallies:
    """Tallies by gate and slowdown. Each slowdown meets the same draws; `beside` adds the usual gates."""
    outliers = outliers or Outliers()
    settings = RuleSettings()
    tallies: Tallies = {}
    rng = np.random.default_rng(seed)
    for start in range(0, trials, BLOCK):
        count = min(BLOCK, trials - start)
        stored = draw(rng, scenario, outliers, count, SESSIONS, ENGINES)
        new = draw(rng, scenario, outliers, count, 1, settings.max_engines)
        model = fit(_table(stored, (ENGINES,) * SESSIONS), settings.prior)
        log_margin = np.full(count, settings.log_margin(Direction.HIGHER))
        values = _table(new, (settings.max_engines,)).values
        for slowdown in SLOWDOWNS:
            shift = -math.log1p(-slowdown)
            course = run_course(partial(_look, model, values + shift, log_margin, settings), count, settings)
            failed = np.isin(course.codes, [CODES[Status.REGRESSED], CODES[Status.DRIFTED]])
            passed = (course.codes == CODES[Status.OK]) | (course.codes == CODES[Status.IMPROVED])
            tally = tallies.setdefault((RULE, slowdown), Tally())
            tally.add(failed, passed, int(course.engines.sum()))
            for name, fails, engines in usual_gates(stored, new + shift) if beside else ():
                tallies.setdefault((name, slowdown), Tally()).add(fails, ~fails, engines * count)
    return tallies


HEADER: Final = (
    "| scenario | gate | false alarms | caught at 8 % | caught at 10 % | silent at 10 % | starts at 0 % "
    "| starts at 8 % |\n|---|---|---|---|---|---|---|---|"
)


def rows(scenario: Scenario, tallies: Tallies) -> Iterator[str]:
    """Table rows, one per gate; the rule's with its targets in brackets."""
    for gate in dict.fromkeys(name for name, _ in tallies):
        none, eight, ten = (tallies[gate, slowdown] for slowdown in SLOWDOWNS)
        alarms, caught, silent = (
            f"{100 * tally / none.trials:.{digits}f} %"
            for tally, digits in ((none.failed, 2), (ten.failed, 2), (ten.passed, 3))
        )
        if gate == RULE:
            alarms += f" (<= {100 * scenario.most_false_alarms:g})"
            caught += f" (>= {100 * scenario.least_caught:g})"
            silent += f" (<= {100 * scenario.most_silent:g})"
        caught_eight = f"{100 * eight.failed / eight.trials:.1f} %"
        starts = (f"{tally.engines / tally.trials:.2f}" for tally in (none, eight))
        yield " | ".join((f"| {scenario.name}", gate, alarms, caught_eight, caught, silent, *starts)) + " |"


def missed(scenario: Scenario, tallies: Tallies) -> Iterator[str]:
    """Targets that the rule did not reach, by more than three standard errors of the simulation itself."""
    none, ten = tallies[RULE, 0.0], tallies[RULE, 0.10]
    for what, share, target, at_most in (
        ("false alarms", none.failed / none.trials, scenario.most_false_alarms, True),
        ("caught at 10 %", ten.failed / ten.trials, scenario.least_caught, False),
        ("silent at 10 %", ten.passed / ten.trials, scenario.most_silent, True),
    ):
        error = 3 * math.sqrt(target * (1 - target) / none.trials)
        if share > target + error if at_most else share < target - error:
            yield f"{scenario.name}: {what} {100 * share:.3f} %, wanted {100 * target:g} %"
    eight = tallies[RULE, 0.08]
    for slowdown, tally, most in ((0, none, scenario.most_starts[0]), (8, eight, scenario.most_starts[1])):
        if tally.engines / tally.trials > most:
            yield f"{scenario.name}: {tally.engines / tally.trials:.2f} starts at {slowdown} %, wanted {most}"


def main() -> int:
    """Print the table, and what was missed; 1 where something was."""
    parser = argparse.ArgumentParser(description="Simulate the verdict rule beside the usual gates.")
    parser.add_argument("--trials", type=int, default=100_000, help="per scenario (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iteration-outliers", type=float, default=Outliers().iterations, metavar="SHARE")
    parser.add_argument("--engine-outliers", type=float, default=Outliers().engines, metavar="SHARE")
    options = parser.parse_args()
    outliers = Outliers(iterations=options.iteration_outliers, engines=options.engine_outliers)
    print(f"{options.trials} trials per scenario, seed {options.seed}; targets in brackets\n\n{HEADER}")
    short: list[str] = []
    for scenario in SCENARIOS:
        tallies = simulate(scenario, options.trials, options.seed, outliers)
        for row in rows(scenario, tallies):
            print(row, flush=True)
        short += missed(scenario, tallies)
    print(
        "\n" + ("\n".join(f"missed: {line}" for line in short) or "all targets were reached, within 3 standard errors")
    )
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
