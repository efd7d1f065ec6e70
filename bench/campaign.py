"""An A/A campaign out of a baseline file: how far equal engines lie apart, and what the verdict makes of them.

    python bench/campaign.py baselines/nvidia-h200/tests/studies/test_noise.json 'test_decode[awq]' \\
        --slowed bench/campaign/nvidia-h200/*.json

A trial takes new engines in random order, and as the baseline three to all of the other engines:
  any split         six engines of the campaign, whatever session they are of
  another session   the engines of one session, against those of the others only
  scaled            as `another session`, with the new values made slower by so much
  a file's name     its engines, slowed down on the device while they were measured (tests/studies/slow)
Hyperparameters are those of the file's profile, as pytest takes them. The new engines of a trial are among the
samples that they were fitted on, which those of a run would not be.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from pytest_vllmperf.cli.judging import fitted
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.storage.baselines import load
from pytest_vllmperf.verdict import Case, VerdictSettings, judge_cases, outlook

MAX_ENGINES = 6
SCALES = (0.03, 0.05, 0.08, 0.10)

Numbered = tuple[int, EngineSamples]
"""An engine, and which session it is of."""

Split = Callable[[random.Random], tuple[list[EngineSamples], list[Numbered]]]
"""Draws new engines, and those that a baseline may be made of."""


@dataclass(frozen=True)
class Kind:
    """One kind of trials: how engines are split, and by how much the new values are made slower (a fraction)."""

    name: str
    split: Split
    scale: float = 0.0


def kinds(sessions: Sequence[Session], slowed: Sequence[tuple[str, Sequence[EngineSamples]]]) -> list[Kind]:
    """What can be tried with these sessions and slowed engines."""
    every: list[Numbered] = [(number, engine) for number, one in enumerate(sessions) for engine in one.engines]

    def any_split(draw: random.Random) -> tuple[list[EngineSamples], list[Numbered]]:
        shuffled = draw.sample(every, len(every))
        new = min(MAX_ENGINES, len(every) - 3)
        return [engine for _, engine in shuffled[:new]], shuffled[new:]

    def another_session(draw: random.Random) -> tuple[list[EngineSamples], list[Numbered]]:
        chosen = draw.randrange(len(sessions))
        new = draw.sample(sessions[chosen].engines, len(sessions[chosen].engines))
        return new[:MAX_ENGINES], [one for one in every if one[0] != chosen]

    def recorded(engines: Sequence[EngineSamples]) -> Split:
        return lambda draw: (draw.sample(engines, len(engines))[:MAX_ENGINES], every)

    found = [Kind("any split", any_split)]
    if len(sessions) > 1:
        found.append(Kind("another session", another_session))
        found += [Kind(f"scaled {scale:.0%}", another_session, scale) for scale in SCALES]
    return found + [Kind(name, recorded(engines)) for name, engines in slowed]


def settings_of(file: Path, check: str) -> VerdictSettings:
    """How pytest judges the clock of a check of this file."""
    tests = load(file).tests
    hard = tests[check].sessions[-1].environment.hard
    return VerdictSettings(CLOCK_METRICS, priors=fitted(file, tests.values()).priors(hard))


def case(metric: Metric, kind: Kind, draw: random.Random, settings: VerdictSettings) -> Case:
    """One trial's baseline, and all new engines that it has."""
    new, others = kind.split(draw)
    kept = draw.sample(others, draw.randint(min(3, len(others)), len(others)))
    stored = [[one.values(metric.name) for n, one in kept if n == number] for number in sorted({n for n, _ in kept})]
    factor = 1 - kind.scale if metric.better is Direction.HIGHER else 1 / (1 - kind.scale)
    values = [[value * factor for value in engine.values(metric.name)] for engine in new]
    return Case(metric.label, metric.better, stored, values, settings.rule(metric))


def ends(cases: Sequence[Case]) -> tuple[Counter[Status], float]:
    """How trials end, looking after each engine, and the engines that they took in the mean."""
    found: Counter[Status] = Counter()
    starts, waiting = 0, list(cases)
    for count in range(1, MAX_ENGINES + 1):
        looks = [replace(one, new=one.new[:count]) for one in waiting]
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


def tally(metric: Metric, kind: Kind, trials: int, settings: VerdictSettings) -> tuple[Counter[Status], float]:
    """How so many trials of a kind end, always the same, and the engines that they took in the mean."""
    draw = random.Random(f"{metric.name} {kind.name}")
    return ends([case(metric, kind, draw, settings) for _ in range(trials)])


def row(metric: Metric, kind: Kind, trials: int, settings: VerdictSettings) -> list[str]:
    found, starts = tally(metric, kind, trials, settings)
    shares = [
        f"{found[status] / trials:.2%}" for status in (Status.REGRESSED, Status.OK, Status.NOISY, Status.IMPROVED)
    ]
    return [metric.label, kind.name, *shares, f"{starts:.2f}"]


def spreads(sessions: Sequence[Session], settings: VerdictSettings) -> list[list[str]]:
    """What the baseline's own model says of its noise."""
    told = outlook(sessions, settings)
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
    parser.add_argument("--slowed", type=Path, nargs="*", default=[], help="baseline files of slowed engines")
    parser.add_argument("--trials", type=int, default=4000, help="per metric and kind (default: %(default)s)")
    asked = parser.parse_args()
    sessions = load(asked.file).tests[asked.check].sessions
    engines, settings = engines_of(sessions), settings_of(asked.file, asked.check)
    print(f"{asked.check}: {len(engines)} engines in {len(sessions)} sessions\n")
    print(tabulate([raw(engines, name) for name in CLOCK_METRICS], ["measured", "in an engine", "between engines"]))
    print()
    print(tabulate(spreads(sessions, settings), ["by the model", "session", "engine", "finds"]))
    print()
    tried = kinds(sessions, [(file.stem, slowed_engines(file, asked.check)) for file in asked.slowed])
    rows = [row(METRICS[name], kind, asked.trials, settings) for name in CLOCK_METRICS for kind in tried]
    print(tabulate(rows, ["metric", "new engines", "REGRESSED", "OK", "NOISY", "IMPROVED", "starts"]))


def slowed_engines(file: Path, check: str) -> list[EngineSamples]:
    return engines_of(load(file).tests[check].sessions)


def engines_of(sessions: Sequence[Session]) -> list[EngineSamples]:
    return [engine for session in sessions for engine in session.engines]


if __name__ == "__main__":
    main()
