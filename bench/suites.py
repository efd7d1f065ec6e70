"""Whole runs of many gated metrics: how often one in which nothing changed is red, and what a slowdown finds.

    python bench/suites.py [--runs 20000] [--seed 0] [--processes 2] [--only quiet]

A trial is a run: stored sessions of three engines for every metric, hyperparameters fitted over all of them, and six
new engines of one new session. Metrics of a test share their engines' accidents, and are correlated. A slowdown of r
divides all new engines' speed by 1 / (1 - r); it is looked for on the same draws. With a reference, each new engine
has one of the reference beside it, and no session effect.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import WALL_CLOCK, Direction, EngineTable, FloatArray, Prior, fit, observe
from pytest_vllmperf.verdict import CODES, Course, RuleSettings, family_a_fail, look, run_course
from pytest_vllmperf.verdict.pairs import fit_pairs
from pytest_vllmperf.verdict.priors import SESSIONS_TO_FIT, fit_tables
from pytest_vllmperf.verdict.rule import look_at_pairs

ENGINES: Final = 3
NEW: Final = 6
STORED: Final = (1, 3, 5, 10, 20)
RED: Final = (CODES[Status.REGRESSED], CODES[Status.DRIFTED])


@dataclass(frozen=True, slots=True)
class Suite:
    """A kind of run; standard deviations in log units.

    session_sd, engine_sd: of the median metric. by_metric, by_test: spread of the logarithm of both, one factor for
    each metric and for each test. apart: spread of the session's sd alone, beside that. noisy_tests: share of tests
    whose noise is three times as large. correlation: between metrics of a test. accidents: share of engine starts that
    are 10 to 30 % slow. slowdowns: looked for.
    """

    name: str
    session_sd: float
    engine_sd: float
    margin: float
    tests: int = 20
    metrics: int = 4
    by_metric: float = 0.0
    by_test: float = 0.0
    apart: float = 0.0
    noisy_tests: float = 0.0
    correlation: float = 0.7
    accidents: float = 0.01
    slowdowns: tuple[float, ...] = (0.10,)

    @property
    def gated(self) -> int:
        """Metrics that are gated."""
        return self.tests * self.metrics


QUIET: Final = Suite(
    "quiet GPU", 0.002, 0.0025, 0.01, by_metric=0.5, correlation=0.0, accidents=0.0, slowdowns=(0.02, 0.015)
)
SUITES: Final = (
    QUIET,
    Suite("sds apart on a quiet GPU", 0.002, 0.0025, 0.01, by_metric=0.35, apart=0.5, correlation=0.0, accidents=0.0,
          slowdowns=(0.02, 0.015)),
    Suite("accidents on a quiet GPU", 0.002, 0.0025, 0.01, by_metric=0.5, accidents=0.01, slowdowns=(0.02, 0.015)),
    Suite("typical", 0.010, 0.0163, 0.05),
    Suite("noisy", 0.015, 0.034, 0.05),
    Suite("heterogeneous", 0.010, 0.0163, 0.05, by_test=0.5, by_metric=0.3, noisy_tests=0.25),
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """Counts over runs of one suite, by slowdown; 0 is a run in which nothing changed."""

    runs: int = 0
    red: int = 0
    drifted: int = 0
    noisy: int = 0
    starts: int = 0
    found: dict[float, int] = field(default_factory=dict)
    silent: dict[float, int] = field(default_factory=dict)

    def add(self, slowdown: float, course: Course) -> None:
        """Add one run."""
        red = np.isin(course.codes, RED)
        if slowdown:
            self.found[slowdown] = self.found.get(slowdown, 0) + int(red.sum())
            passed = np.isin(course.codes, (CODES[Status.OK], CODES[Status.IMPROVED]))
            self.silent[slowdown] = self.silent.get(slowdown, 0) + int(passed.sum())
            return
        self.runs += 1
        self.red += bool(red.any())
        self.drifted += bool((course.codes == CODES[Status.DRIFTED]).any())
        self.noisy += int((course.codes == CODES[Status.NOISY]).sum())
        self.starts += int(course.engines.sum())

    def merge(self, other: Tally) -> None:
        """Add another tally of the same suite."""
        for name in ("runs", "red", "drifted", "noisy", "starts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.found, other.found), (self.silent, other.silent)):
            for slowdown, count in theirs.items():
                mine[slowdown] = mine.get(slowdown, 0) + count


@dataclass(frozen=True, slots=True)
class Draw:
    """One run: stored engine values (metrics, sessions x ENGINES), new ones, and those of a reference; log cost."""

    stored: FloatArray
    new: FloatArray
    reference: FloatArray


def draw(rng: np.random.Generator, suite: Suite, sessions: int) -> Draw:
    """One run of a suite."""
    by_test = suite.by_test * rng.standard_normal(suite.tests) + np.log(
        np.where(rng.random(suite.tests) < suite.noisy_tests, 3.0, 1.0)
    )
    factor = np.exp(np.repeat(by_test, suite.metrics) + suite.by_metric * rng.standard_normal(suite.gated))
    session_sd = suite.session_sd * factor * np.exp(suite.apart * rng.standard_normal(suite.gated))
    engine_sd = suite.engine_sd * factor

    def shared(*shape: int) -> FloatArray:
        """Standard normal values, correlated within a test: shape (metrics, ...)."""
        common = np.repeat(rng.standard_normal((suite.tests, *shape)), suite.metrics, axis=0)
        own = rng.standard_normal((suite.gated, *shape))
        rho = suite.correlation
        return np.asarray(math.sqrt(rho) * common + math.sqrt(1 - rho) * own, dtype=np.float64)

    def engines(count: int) -> FloatArray:
        slow = np.where(
            rng.random((suite.tests, count)) < suite.accidents, rng.uniform(0.1, 0.3, (suite.tests, count)), 0
        )
        return engine_sd[:, np.newaxis] * shared(count) - np.repeat(np.log1p(-slow), suite.metrics, axis=0)

    levels = np.repeat(session_sd[:, np.newaxis] * shared(sessions), ENGINES, axis=1)
    here = session_sd[:, np.newaxis] * shared(1)
    return Draw(levels + engines(sessions * ENGINES), here + engines(NEW), here + engines(NEW))


def fitted(stored: FloatArray, sessions: int) -> Prior:
    """The profile's hyperparameters, as `verdict.priors` fits them."""
    table = EngineTable(stored, (ENGINES,) * sessions, np.zeros(len(stored)))
    return fit_tables([(table, None)], WALL_CLOCK, sessions=sessions >= SESSIONS_TO_FIT)


def simulate(suite: Suite, sessions: int, runs: int, seed: int) -> tuple[Tally, Tally]:
    """Tallies of a suite judged by its baseline, and against a reference."""
    rng = np.random.default_rng(seed)
    by_baseline, by_reference = Tally(), Tally()
    rows = suite.gated
    for _ in range(runs):
        drawn = draw(rng, suite, sessions)
        prior = fitted(drawn.stored, sessions)
        settings = RuleSettings(margin=suite.margin, a_fail=family_a_fail(rows), prior=prior)
        table = EngineTable(drawn.stored, (ENGINES,) * sessions, np.zeros(rows))
        model = fit(table, prior)
        levels, spread = observe(table.values, table.layout, prior, None)
        log_margin = np.full(rows, settings.log_margin(Direction.HIGHER))
        for slowdown in (0.0, *suite.slowdowns):
            slower = drawn.new - math.log1p(-slowdown)

            def after(count: int, slower: FloatArray = slower) -> object:
                return look(model, slower[:, :count], log_margin, settings)  # noqa: B023

            def in_turns(count: int, slower: FloatArray = slower) -> object:
                pairs = fit_pairs((slower - drawn.reference)[:, :count], prior, spread, levels.multimodal)  # noqa: B023
                return look_at_pairs(pairs, log_margin, settings)  # noqa: B023

            by_baseline.add(slowdown, run_course(after, rows, settings))  # type: ignore[arg-type]
            by_reference.add(slowdown, run_course(in_turns, rows, settings))  # type: ignore[arg-type]
    return by_baseline, by_reference


def _share(count: int, of: int) -> str:
    """Per cent, with the standard error of the simulation."""
    share = count / of
    return f"{100 * share:.2f} ± {100 * math.sqrt(share * (1 - share) / of):.2f}"


def row(suite: Suite, sessions: int, judged_by: str, tally: Tally) -> str:
    """One row of the table."""
    metrics = tally.runs * suite.gated
    found = ", ".join(f"{-slowdown:.1%}: {count / metrics:.1%}" for slowdown, count in tally.found.items())
    silent = ", ".join(f"{count / metrics:.2%}" for count in tally.silent.values())
    cells = (
        suite.name, str(sessions), judged_by, _share(tally.red, tally.runs), f"{tally.drifted / tally.runs:.2%}",
        f"{tally.noisy / metrics:.1%}", f"{tally.starts / metrics:.2f}", found, silent,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


HEADER: Final = (
    "| suite | stored sessions | judged by | red runs, % | DRIFTED in | NOISY | starts | found | silent |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def _part(task: tuple[Suite, int, int, int]) -> tuple[Tally, Tally]:
    return simulate(*task)


def tallies(suite: Suite, sessions: int, runs: int, seed: int, processes: int) -> tuple[Tally, Tally]:
    """The same, spread over processes."""
    pieces = processes * 4
    tasks = [(suite, sessions, math.ceil(runs / pieces), seed * 1000 + number) for number in range(pieces)]
    by_baseline, by_reference = Tally(), Tally()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for one, other in pool.imap_unordered(_part, tasks):
            by_baseline.merge(one)
            by_reference.merge(other)
    return by_baseline, by_reference


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Simulate whole runs of many gated metrics.")
    parser.add_argument("--runs", type=int, default=2000, help="per row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="suites whose name starts so")
    parser.add_argument("--sessions", type=int, nargs="+", default=list(STORED))
    asked = parser.parse_args()
    print(f"{asked.runs} runs a row, seed {asked.seed}\n\n{HEADER}", flush=True)
    for suite in SUITES:
        for sessions in asked.sessions if suite.name.startswith(asked.only) else ():
            found = tallies(suite, sessions, asked.runs, asked.seed, asked.processes)
            for judged_by, tally in zip(("baseline", "reference"), found, strict=True):
                print(row(suite, sessions, judged_by, tally), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
