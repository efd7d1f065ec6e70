"""Two machines that share a baseline: false alarms, and slowdowns found, by how far the machines are apart.

    python bench/fleet.py [--trials 2000] [--seed 0]

A trial is one metric of a profile. Five sessions of three engines are stored, all of the faster machine or of both in
turns. Then a session of up to six engines is judged: of the slower machine where nothing changed, and of the faster one
after a slowdown of 10 %, at a margin of 5 %. The machines differ alike in all metrics. The hyperparameters are fitted
on all trials of a row.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Final

import numpy as np

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import WALL_CLOCK, Direction, EngineTable, FloatArray, fit
from pytest_vllmperf.verdict import CODES, RuleSettings, look, run_course
from pytest_vllmperf.verdict.priors import fit_tables

ENGINES: Final = 3
SESSIONS: Final = 5
NOISES: Final = {"quiet": (0.002, 0.0025), "typical": (0.010, 0.0163)}
APART: Final = (0.0, 0.01, 0.02, 0.04, 0.06)
SLOWDOWN: Final = 0.10
RECORDED: Final = {"the faster one": (0, 0, 0, 0, 0), "both in turns": (0, 1, 0, 1, 0)}
"""On which machine each session was recorded; 1 is the slower one."""


def row(noise: tuple[float, float], apart: float, machines: tuple[int, ...], trials: int, seed: int) -> list[float]:
    """Shares of trials: red without a change on the slower machine, red and passed when slowed on the faster one."""
    rng = np.random.default_rng(seed)
    session_sd, engine_sd = noise

    def session(machine: int, count: int, slowed: float = 0.0) -> FloatArray:
        level = machine * math.log1p(apart) - math.log1p(-slowed) + rng.normal(0, session_sd, (trials, 1))
        return np.asarray(level + rng.normal(0, engine_sd, (trials, count)))

    stored = np.concatenate([session(machine, ENGINES) for machine in machines], axis=1)
    table = EngineTable(stored, (ENGINES,) * SESSIONS, np.zeros(trials))
    settings = RuleSettings(prior=fit_tables([(table, None)], WALL_CLOCK, sessions=True))
    model, margin = fit(table, settings.prior), np.full(trials, settings.log_margin(Direction.HIGHER))

    def codes(new: FloatArray) -> FloatArray:
        course = run_course(lambda count: look(model, new[:, :count], margin, settings), trials, settings)
        return np.asarray(course.codes)

    red = [CODES[Status.REGRESSED], CODES[Status.DRIFTED]]
    unchanged, slowed = codes(session(1, settings.max_engines)), codes(session(0, settings.max_engines, SLOWDOWN))
    return [
        float(np.isin(unchanged, red).mean()),
        float(np.isin(slowed, red).mean()),
        float((slowed == CODES[Status.OK]).mean()),
    ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Simulate two machines that share a baseline.")
    parser.add_argument("--trials", type=int, default=2000, help="per row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"{asked.trials} trials a row, seed {asked.seed}\n")
    print("| noise | recorded on | slower machine by | red, unchanged | found, slowed | passed OK, slowed |")
    print("|---|---|---|---|---|---|", flush=True)
    for noise, sizes in NOISES.items():
        for name, machines in RECORDED.items():
            for apart in APART:
                shares = row(sizes, apart, machines, asked.trials, asked.seed)
                told = " | ".join(f"{share:.1%}" for share in shares)
                print(f"| {noise} | {name} | {apart:.0%} | {told} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
