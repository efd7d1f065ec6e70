"""Verdicts on custom metrics by simulation: how often noise alone is a regression, and how often a change is found.

`python -m bench.custom_metrics` writes the tables of docs/custom-metrics.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import UNKNOWN, WALL_CLOCK, EngineTable, Prior, fit
from pytest_vllmperf.verdict import family_a_fail
from pytest_vllmperf.verdict.rule import STATUSES, RuleSettings, look

MARGIN, GATED, MAX_ENGINES = 0.05, 6, 6
BAD = (Status.REGRESSED, Status.DRIFTED)


@dataclass(frozen=True)
class Case:
    """A metric whose values vary by `noise` (log units), half of the variance between sessions, half within them.

    stored: sessions. starts: values of each; 1 for what a run has once. change: of the new level, as a fraction.
    """

    noise: float
    stored: int
    starts: int
    change: float = 0.0


def verdicts(case: Case, trials: int, seed: int, prior: Prior = UNKNOWN) -> Counter[Status]:
    """How often each verdict came out."""
    rng, sd = np.random.default_rng(seed), case.noise / np.sqrt(2)
    once = case.starts == 1
    settings = RuleSettings(
        margin=MARGIN, a_fail=family_a_fail(GATED), max_engines=1 if once else MAX_ENGINES, prior=prior
    )

    def session(count: int) -> np.ndarray:
        return rng.normal(0, sd, (trials, 1)) + rng.normal(0, sd, (trials, count))

    values = np.concatenate([session(case.starts) for _ in range(case.stored)], axis=1)
    model = fit(EngineTable(values, (case.starts,) * case.stored, np.zeros(trials)), prior, None)
    new = session(settings.max_engines) + np.log1p(case.change)
    margin = np.full(trials, np.log1p(MARGIN))
    found: list[Status | None] = [None] * trials
    for count in range(1, settings.max_engines + 1):
        outcome = look(model, new[:, :count], margin, settings)
        beyond = outcome.difference > np.maximum(margin, outcome.fail_reach)
        for row in range(trials):
            status = STATUSES[outcome.codes[row]]
            last = count == settings.max_engines
            if found[row] is None and (last or status is not Status.UNDECIDED):
                passed = status in (Status.NOISY, Status.UNDECIDED)
                found[row] = Status.REGRESSED if passed and beyond[row] else Status.NOISY if passed else status
    return Counter(status for status in found if status is not None)


def _row(case: Case, trials: int, prior: Prior) -> str:
    shares = []
    for change in (0.0, 0.10, 0.25):
        found = verdicts(Case(case.noise, case.stored, case.starts, change), trials, 1, prior)
        bad, fine = sum(found[one] for one in BAD), found[Status.OK] + found[Status.IMPROVED]
        shares.append(f"{bad / trials:.1%} / {fine / trials:.0%}")
    kind = "number" if case.starts == 1 else "function"
    return f"| {kind} | {case.stored} | {case.noise:.1%} | {' | '.join(shares)} |"


def main() -> None:
    """Print a table for each prior."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    for name, prior in {"of custom metrics": UNKNOWN, "of a wall clock": WALL_CLOCK}.items():
        print(f"prior {name}, {trials} trials")
        print("| record() is given | sessions | noise | unchanged | 10 % worse | 25 % worse |")
        print("| --- | --- | --- | --- | --- | --- |")
        for starts in (3, 1):
            for stored in (1, 3, 6):
                for noise in (0.005, 0.02, 0.05, 0.10):
                    print(_row(Case(noise, stored, starts), trials, prior))


if __name__ == "__main__":
    main()
