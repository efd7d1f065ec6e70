"""Slow declines under --vllmperf-append: when they are reported, and how often where nothing declines.

    python bench/creep.py [--trials 2000] [--seed 0] [--processes 2]

A trial is one metric over many sessions. The first `start` sessions are unchanged; then each loses a little more. A
session is judged on three engines first and on up to six, and joins the baseline as `--vllmperf-append` lets it: OK or
NOISY, and within the margin. The baseline keeps its first five and its newest fifteen sessions. All trials of a block
are metrics of one profile, which the hyperparameters are fitted on.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pytest_vllmperf.records.samples import MOST_SESSIONS
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import ANCHOR_SESSIONS, WALL_CLOCK, Direction, EngineTable, FloatArray, Prior, fit
from pytest_vllmperf.verdict import CODES, RuleSettings, look
from pytest_vllmperf.verdict.priors import SESSIONS_TO_FIT, fit_tables

ENGINES: Final = 3
NEW: Final = 6
BLOCK: Final = 100
UNCHANGED: Final = 60
ALLOWED: Final = 0.075
NOISES: Final = {"quiet": (0.002, 0.0025), "typical": (0.010, 0.0163)}
DECLINES: Final = (0.0025, 0.005, 0.01, 0.02)
STARTS: Final = (1, 5)


@dataclass
class Series:
    """Stored sessions of one metric, engine values in log cost; and how many were dropped after the anchor."""

    sessions: list[FloatArray]
    dropped: int = 0

    def append(self, session: FloatArray) -> None:
        """Add one as the store does."""
        self.sessions.append(session)
        if len(self.sessions) > MOST_SESSIONS:
            del self.sessions[ANCHOR_SESSIONS]
            self.dropped += 1


@dataclass(slots=True)
class Tally:
    """Trials, how many were reported in time, as DRIFTED, and losses when they were."""

    trials: int = 0
    in_time: int = 0
    drifted: int = 0
    reported: int = 0
    losses: list[float] = field(default_factory=list)


def _groups(series: list[Series], alive: list[int]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for number in alive:
        found.setdefault((len(series[number].sessions), series[number].dropped), []).append(number)
    return found


def _table(series: list[Series], numbers: list[int]) -> EngineTable:
    values = np.stack([np.concatenate(series[number].sessions) for number in numbers])
    return EngineTable(values, (ENGINES,) * len(series[numbers[0]].sessions), np.zeros(len(numbers)))


def _prior(series: list[Series]) -> Prior:
    groups = _groups(series, list(range(len(series))))
    longest = max(sessions for sessions, _ in groups)
    tables = [
        (_table(series, numbers), (ANCHOR_SESSIONS, dropped) if dropped else None)
        for (_, dropped), numbers in groups.items()
    ]
    return fit_tables(tables, WALL_CLOCK, sessions=longest >= SESSIONS_TO_FIT)


def _judged(
    model_of: EngineTable, new: FloatArray, settings: RuleSettings, dropped: int
) -> tuple[FloatArray, FloatArray]:
    """Codes and differences once decided: three engines, then up to six."""
    gap = (ANCHOR_SESSIONS, dropped) if dropped else None
    model = fit(model_of, settings.prior, gap)
    margin = np.full(len(new), settings.log_margin(Direction.HIGHER))
    codes = np.full(len(new), CODES[Status.UNDECIDED])
    differences = np.zeros(len(new))
    for count in range(ENGINES, NEW + 1):
        still_open = codes == CODES[Status.UNDECIDED]
        if still_open.any():
            seen = look(model, new[:, :count], margin, settings)
            codes[still_open], differences[still_open] = seen.codes[still_open], seen.difference[still_open]
    return codes, differences


def block(noise: tuple[float, float], start: int, decline: float, trials: int, seed: int) -> Tally:
    """So many trials, metrics of one profile; without a decline `UNCHANGED` sessions each."""
    rng, tally = np.random.default_rng(seed), Tally(trials=trials)
    session_sd, engine_sd = noise

    def session(loss: float, count: int) -> FloatArray:
        levels = rng.normal(0, session_sd, (trials, 1)) + rng.normal(0, engine_sd, (trials, count))
        return levels - math.log1p(-loss)

    first = [session(0.0, ENGINES) for _ in range(start)]
    series = [Series([one[number] for one in first]) for number in range(trials)]
    alive = list(range(trials))
    last = UNCHANGED if decline == 0 else math.ceil(2 * ALLOWED / decline)
    for step in range(1, last + 1):
        loss = step * decline
        new, prior = session(loss, NEW), _prior(series)
        settings = RuleSettings(prior=prior)
        for (_, dropped), numbers in _groups(series, alive).items():
            codes, differences = _judged(_table(series, numbers), new[numbers], settings, dropped)
            for number, code, difference in zip(numbers, codes, differences, strict=True):
                red = code in (CODES[Status.REGRESSED], CODES[Status.DRIFTED])
                drifted = code == CODES[Status.DRIFTED]
                if red and (decline or drifted):
                    alive.remove(number)
                    tally.reported += 1
                    tally.drifted += drifted
                    tally.in_time += loss <= ALLOWED
                    tally.losses.append(loss)
                elif not red and code != CODES[Status.IMPROVED] and abs(difference) <= 0.05:
                    series[number].append(new[number, :ENGINES])
    return tally


def _part(task: tuple[tuple[float, float], int, float, int, int]) -> Tally:
    return block(*task)


def cell(noise: str, start: int, decline: float, trials: int, seed: int, processes: int) -> str:
    """One row of the table."""
    blocks = math.ceil(trials / BLOCK)
    tasks = [(NOISES[noise], start, decline, BLOCK, seed * 1000 + number) for number in range(blocks)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.map(_part, tasks)
    total = sum(part.trials for part in parts)
    share = sum(part.in_time for part in parts) / total
    drifted = sum(part.drifted for part in parts) / total
    if decline == 0:
        error = math.sqrt(drifted * (1 - drifted) / total)
        return f"| {noise} | {start} | none | DRIFTED in {drifted:.2%} ± {error:.2%} of trials | | |"
    losses = sorted(loss for part in parts for loss in part.losses)
    middle = losses[len(losses) // 2] if losses else math.nan
    error = math.sqrt(share * (1 - share) / total)
    return f"| {noise} | {start} | {decline:.2%} | {share:.1%} ± {error:.1%} | {middle:.2%} | {drifted:.0%} |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Simulate slow declines.")
    parser.add_argument("--trials", type=int, default=400, help="per row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    print(f"{asked.trials} trials a row, seed {asked.seed}\n")
    print("| noise | sessions before | decline a session | reported before 7.5 % is lost | at a loss of | as DRIFTED |")
    print("|---|---|---|---|---|---|", flush=True)
    for noise in NOISES:
        for start in STARTS:
            for decline in (*DECLINES, 0.0):
                print(cell(noise, start, decline, asked.trials, asked.seed, asked.processes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
