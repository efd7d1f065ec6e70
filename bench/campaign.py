"""An A/A campaign out of a baseline file: how far equal engines lie apart, and what the verdict makes of them.

    python bench/campaign.py baselines/nvidia-h200/tests/studies/test_noise.json 'test_decode[awq]'

Each trial takes all engines of one recorded session as the new ones, in random order, and three to all engines of the
other sessions as the baseline. A slowdown scales the new values; no clock was slowed for it.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from pytest_vllmperf.baseline import load
from pytest_vllmperf.metrics.records import EngineSamples, Session
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS, Metric
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.verdict import Case, Status, VerdictSettings, judge_cases, outlook

MAX_ENGINES = 6
SLOWDOWNS = (0.0, 0.03, 0.05, 0.08, 0.10)


def case(metric: Metric, sessions: Sequence[Session], slowdown: float, draw: random.Random) -> Case:
    """One trial's baseline, and all new engines that it has."""
    chosen = draw.randrange(len(sessions))
    new = list(sessions[chosen].engines)
    draw.shuffle(new)
    others = [(number, engine) for number, one in enumerate(sessions) for engine in one.engines if number != chosen]
    kept = draw.sample(others, draw.randint(min(3, len(others)), len(others)))
    stored = [[engine.values(metric.name) for n, engine in kept if n == number] for number in range(len(sessions))]
    factor = 1 - slowdown if metric.better is Direction.HIGHER else 1 / (1 - slowdown)
    slowed = [[value * factor for value in engine.values(metric.name)] for engine in new[:MAX_ENGINES]]
    return Case(metric.label, metric.better, [one for one in stored if one], slowed)


def ends(cases: Sequence[Case]) -> tuple[Counter[Status], float]:
    """How trials end, looking after each engine, and the engines that they took in the mean."""
    found: Counter[Status] = Counter()
    starts, waiting = 0, list(cases)
    for count in range(1, MAX_ENGINES + 1):
        looks = [Case(one.metric, one.direction, one.baseline, one.new[:count]) for one in waiting]
        after = []
        for one, decision in zip(waiting, judge_cases(looks), strict=True):
            if decision.status is Status.UNDECIDED and count < len(one.new):
                after.append(one)
            else:
                found[Status.NOISY if decision.status is Status.UNDECIDED else decision.status] += 1
                starts += count
        waiting = after
        if not waiting:
            break
    return found, starts / len(cases)


def row(metric: Metric, sessions: Sequence[Session], slowdown: float, trials: int) -> list[str]:
    draw = random.Random(f"{metric.name} {slowdown}")
    found, starts = ends([case(metric, sessions, slowdown, draw) for _ in range(trials)])
    shares = [
        f"{found[status] / trials:.2%}" for status in (Status.REGRESSED, Status.OK, Status.NOISY, Status.IMPROVED)
    ]
    return [metric.label, f"{slowdown:.0%}", *shares, f"{starts:.2f}"]


def spreads(sessions: Sequence[Session]) -> list[list[str]]:
    """What the baseline's own model says of its noise."""
    told = outlook(sessions, VerdictSettings(CLOCK_METRICS, 0.05, {}))
    return [
        [
            METRICS[one.metric].label,
            f"{one.noise.session_sd:.2%}",
            f"{one.noise.engine_sd:.2%}",
            f"{one.noise.detectable:.2%}",
        ]
        for one in told
    ]


def raw(engines: Sequence[EngineSamples], metric: str) -> list[str]:
    """What was measured, without any model: spread within engines and between their medians."""
    within, centres = [], []
    for engine in engines:
        values = sorted(engine.values(metric))
        centres.append(values[len(values) // 2])
        mean = sum(values) / len(values)
        within.append((sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5 / mean)
    middle = sum(centres) / len(centres)
    between = (sum((c - middle) ** 2 for c in centres) / (len(centres) - 1)) ** 0.5 / middle
    return [METRICS[metric].label, f"{sorted(within)[len(within) // 2]:.2%}", f"{between:.2%}"]


def main() -> None:
    """Print what was measured, what the model makes of it, and how the verdict ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("check")
    parser.add_argument("--trials", type=int, default=4000)
    asked = parser.parse_args()
    sessions = load(asked.file).tests[asked.check].sessions
    engines = [engine for session in sessions for engine in session.engines]
    print(f"{asked.check}: {len(engines)} engines in {len(sessions)} sessions\n")
    print(tabulate([raw(engines, name) for name in CLOCK_METRICS], ["measured", "in an engine", "between engines"]))
    print()
    print(tabulate(spreads(sessions), ["by the model", "session", "engine", "finds"]))
    print()
    rows = [row(METRICS[name], sessions, slow, asked.trials) for name in CLOCK_METRICS for slow in SLOWDOWNS]
    print(tabulate(rows, ["metric", "slower by", "REGRESSED", "OK", "NOISY", "IMPROVED", "starts"]))


if __name__ == "__main__":
    main()
