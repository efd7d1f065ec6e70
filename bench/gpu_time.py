"""How well the GPU's own time repeats, and what a gate on it makes of equal and of slower engines.

    python -m bench.gpu_time baselines/nvidia-h200/tests/studies/test_gpu_time.json \\
        --new busy.json block_size.json [--check test_host_bound] [--draws 10000] [--metric gpu_time] [--gated 10]

Three tables for each check of the file, in Markdown:
  spread     of the GPU's time and of what it may be divided by: in an engine, between engines, between sessions
  splits     every way to take stored sessions and a new one out of the file, judged as pytest judges them
  resampled  draws of stored and new engines; a change multiplies the GPU time of all new engines by 1 + so much
New engines of a draw are of the same session as the stored ones, of another one, or of a file of `--new`: engines
beside busy neighbours, or with a small change. Hyperparameters are fitted on what is stored in the draw, as in a run.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Final

import numpy as np
from tabulate import tabulate

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Entry, Session
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.stats import EngineTable, FloatArray, fit, flatten
from pytest_vllmperf.stats import tabulate as engine_table
from pytest_vllmperf.storage.baselines import load
from pytest_vllmperf.verdict import (
    CODES,
    Course,
    Evidence,
    Outcome,
    VerdictSettings,
    family_a_fail,
    judge,
    look,
    run_course,
)
from pytest_vllmperf.verdict.priors import SESSIONS_TO_FIT, class_prior, fit_priors, fit_tables

STORED: Final = 3
"""Engines of a stored session that a draw takes."""
NEW: Final = 6
CHANGES: Final = (0.0, 0.01, 0.015, 0.02, 0.05)
STORED_SESSIONS: Final = (1, 3)
RED: Final = (CODES[Status.REGRESSED], CODES[Status.DRIFTED])
WALL: Final = "output_throughput"

Values = Callable[[EngineSamples], Sequence[float]]


def metric(name: str) -> Values:
    """The samples of a metric."""
    return lambda engine: engine.values(name)


def divided(name: str, by: str) -> Values:
    """The samples of a metric over what a counter said of the counted iterations, the median."""

    def values(engine: EngineSamples) -> Sequence[float]:
        count = engine.values(by)
        return [value / median(count) for value in engine.values(name)] if count else []

    return values


NORMALISATIONS: Final[Mapping[str, Values]] = {
    "GPU time of an iteration": metric("gpu_time"),
    "GPU time per engine step": divided("gpu_time", "engine_steps"),
    "GPU time per generated token": divided("gpu_time", "output_tokens"),
    "GPU time of decode steps, per step": metric("gpu_time.decode_step"),
    "GPU time of prefill steps": metric("gpu_time.prefill"),
    "GPU busy time": metric("gpu_busy"),
    "kernels": metric("gpu_kernels"),
    "output throughput, by the wall clock": metric(WALL),
}


@dataclass(frozen=True)
class Spread:
    """How far equal things lie apart; standard deviations as fractions of the mean, None where there is only one.

    in_engine: of the iterations, the median over engines. engines: of the engines' medians around their session's mean.
    sessions: of the sessions' means. farthest_engines: from the lowest engine of a session to its highest, the largest.
    farthest_sessions: the same of the sessions' means.
    """

    in_engine: float | None
    engines: float | None
    sessions: float | None
    farthest_engines: float
    farthest_sessions: float


def spread(sessions: Sequence[Session], values: Values) -> Spread | None:
    """The spread of one figure; None where an engine has not measured it."""
    measured = [[list(values(engine)) for engine in session.engines] for session in sessions]
    if not all(samples for session in measured for samples in session):
        return None
    within = [stdev(samples) / mean(samples) for one in measured for samples in one if len(samples) > 1]
    centres = [[median(samples) for samples in session] for session in measured]
    levels = [mean(session) for session in centres]
    level = mean(levels)
    residuals = [(value - mean(one)) ** 2 for one in centres for value in one]
    freedom = len(residuals) - len(centres)
    return Spread(
        in_engine=median(within) if within else None,
        engines=math.sqrt(sum(residuals) / freedom) / level if freedom else None,
        sessions=stdev(levels) / level if len(levels) > 1 else None,
        farthest_engines=max((max(one) - min(one)) / level for one in centres),
        farthest_sessions=(max(levels) - min(levels)) / level,
    )


def splits(sessions: Sequence[Session]) -> Iterator[tuple[str, list[Session], list[EngineSamples]]]:
    """Every way to judge a part of a campaign by another one.

    Each session by each other one, by all others, and its second half by its first and the other way round. A stored
    part has at least three engines. Yields what kind it is, what is stored, and the new engines.
    """
    for new in sessions:
        others = [one for one in sessions if one is not new]
        enough = [one for one in others if len(one.engines) >= STORED]
        yield from (("a session by another one", [one], new.engines) for one in enough)
        if len(others) > 1 and enough:
            yield "a session by all others", others, new.engines
        middle = len(new.engines) // 2
        halves = new.engines[:middle], new.engines[middle:]
        for stored, judged in (halves, halves[::-1]):
            if len(stored) >= STORED and judged:
                yield "half a session by the other half", [new.model_copy(update={"engines": stored})], judged


def ended(stored: Sequence[Session], new: Sequence[EngineSamples], settings: VerdictSettings) -> Status:
    """How a check ends that looks after each of these engines, six at most."""
    settings = replace(settings, priors={**settings.priors, **fit_priors([stored])})
    verdict: Verdict | None = None
    engines = new[: settings.max_engines]
    for count in range(1, len(engines) + 1):
        last = count == len(engines)
        verdict = judge(Evidence(stored, engines[:count], settings, previous=verdict, last_look=last))
        if verdict.status is not Status.UNDECIDED:
            break
    assert verdict is not None
    return verdict.status


def engine_values(sessions: Sequence[Session], names: Sequence[str]) -> list[FloatArray]:
    """Of each session its engines' values, shape (metrics, engines), log units, larger is worse.

    Raises:
        SampleError: where an engine has not measured one of these metrics.
    """
    layout = [len(session.engines) for session in sessions]
    rows = [
        engine_table([flatten([[one.values(name) for one in every(sessions)]], name)], [METRICS[name].better]).values[0]
        for name in names
    ]
    return np.split(np.stack(rows), np.cumsum(layout)[:-1], axis=1)


def every(sessions: Sequence[Session]) -> list[EngineSamples]:
    """All engines of some sessions."""
    return [engine for session in sessions for engine in session.engines]


@dataclass(frozen=True)
class Drawn:
    """Stored and new engines; shape (metrics, engines), log units. layout: stored engines by session."""

    stored: FloatArray
    layout: tuple[int, ...]
    new: FloatArray


@dataclass(frozen=True)
class Kind:
    """Where draws come from.

    sessions: that are stored. new: that new engines are of; None for those of `sessions` themselves.
    count: how many are stored.
    """

    name: str
    sessions: Sequence[FloatArray]
    count: int
    new: Sequence[FloatArray] | None = None

    @property
    def possible(self) -> bool:
        """Whether there are sessions enough."""
        return len(self.sessions) >= self.count + (self.new is None)

    def draw(self, rng: random.Random) -> Drawn:
        """One baseline, and the engines that are judged by it."""
        shuffled = rng.sample(self.sessions, len(self.sessions))
        new = shuffled.pop() if self.new is None else rng.choice(self.new)
        columns = [_columns(rng, one, STORED) for one in shuffled[: self.count]]
        return Drawn(np.concatenate(columns, axis=1), (STORED,) * self.count, _columns(rng, new, NEW))


@dataclass(frozen=True)
class SameSession(Kind):
    """Stored and new engines of one session; stored sessions are parts of it."""

    @property
    def possible(self) -> bool:
        """Whether a session has engines enough, three new ones included."""
        return bool(self._long())

    def _long(self) -> list[FloatArray]:
        return [one for one in self.sessions if one.shape[1] >= STORED * (self.count + 1)]

    def draw(self, rng: random.Random) -> Drawn:
        """One baseline, and the engines that are judged by it."""
        chosen = rng.choice(self._long())
        shuffled = _columns(rng, chosen, chosen.shape[1])
        stored = STORED * self.count
        return Drawn(shuffled[:, :stored], (STORED,) * self.count, shuffled[:, stored : stored + NEW])


def _columns(rng: random.Random, values: FloatArray, count: int) -> FloatArray:
    """So many engines of a session, in any order; all of them where it has fewer."""
    return values[:, rng.sample(range(values.shape[1]), min(count, values.shape[1]))]


def course(drawn: Drawn, settings: VerdictSettings, changes: Sequence[float] = CHANGES) -> Course:
    """How a check ends on these engines, for each of the changes; judged is the metric in the first row.

    Args:
        drawn: the engines.
        settings: of the check; its gate is the metric, its priors are what the fit starts from.
        changes: what the new values are multiplied by, minus 1.
    """
    judged = METRICS[settings.gate[0]]
    rows, count, start = len(changes), drawn.new.shape[1], settings.rule(judged).prior
    whole = EngineTable(drawn.stored, drawn.layout, np.zeros(len(drawn.stored)))
    prior = fit_tables([(whole, None)], start, sessions=len(drawn.layout) >= SESSIONS_TO_FIT)
    rule = replace(settings.rule(judged), prior=prior, max_engines=min(settings.max_engines, count))
    model = fit(EngineTable(np.repeat(drawn.stored[:1], rows, axis=0), drawn.layout, np.zeros(rows)), prior)
    new = drawn.new[0] + np.log1p(np.array(changes))[:, np.newaxis]
    log_margin = np.full(rows, rule.log_margin(judged.better))

    def after(engines: int) -> Outcome:
        return look(model, new[:, :engines], log_margin, rule)

    return run_course(after, rows, rule)


@dataclass(frozen=True)
class Found:
    """Of so many draws the share that is red, by change: at the third engine, and in the end."""

    draws: int
    third: Sequence[float]
    end: Sequence[float]


def resampled(kind: Kind, settings: VerdictSettings, draws: int) -> Found:
    """How often draws of a kind are red; always the same ones."""
    rng = random.Random(f"{kind.name} {kind.count}")
    third, end = np.zeros(len(CHANGES)), np.zeros(len(CHANGES))
    for _ in range(draws):
        ran = course(kind.draw(rng), settings)
        red = np.isin(ran.codes, RED)
        end += red
        third += red & (ran.engines <= STORED)
    return Found(draws, list(third / draws), list(end / draws))


def kinds(sessions: Sequence[FloatArray], new: Mapping[str, Sequence[FloatArray]]) -> list[Kind]:
    """What can be drawn of these sessions, and of files with new engines; sessions of fewer than three are left out."""
    stored, judged = _long(sessions), {name: _long(theirs) for name, theirs in new.items()}
    found: list[Kind] = []
    for count in STORED_SESSIONS:
        found += [SameSession("the same session", stored, count), Kind("another session", stored, count)]
        found += [Kind(name, stored, count, theirs) for name, theirs in judged.items() if theirs]
    return [kind for kind in found if kind.possible]


def _long(sessions: Sequence[FloatArray]) -> list[FloatArray]:
    return [one for one in sessions if one.shape[1] >= STORED]


def per_cent(share: float | None) -> str:
    """A share, or a dash."""
    return "–" if share is None else f"{share:.2%}"


def spread_table(sessions: Sequence[Session]) -> str:
    """The first table."""
    found = [(name, spread(sessions, values)) for name, values in NORMALISATIONS.items()]
    rows = [
        [name, *map(per_cent, (it.in_engine, it.engines, it.farthest_engines, it.sessions, it.farthest_sessions))]
        for name, it in found
        if it is not None
    ]
    header = ["figure", "in an engine", "engines, sd", "farthest apart", "sessions, sd", "farthest apart"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def split_table(sessions: Sequence[Session], settings: VerdictSettings) -> str:
    """The second table."""
    found: dict[str, Counter[Status]] = {}
    for kind, stored, new in splits(sessions):
        found.setdefault(kind, Counter())[ended(stored, new, settings)] += 1
    statuses = (Status.OK, Status.REGRESSED, Status.DRIFTED, Status.IMPROVED, Status.NOISY, Status.UNDECIDED)
    rows = [[kind, counts.total(), *(counts[status] for status in statuses)] for kind, counts in found.items()]
    return tabulate(rows, ["judged", "splits", *(status.name for status in statuses)], tablefmt="github")


def resampled_table(
    sessions: Sequence[FloatArray], new: Mapping[str, Sequence[FloatArray]], settings: VerdictSettings, draws: int
) -> str:
    """The third table."""
    rows = []
    for kind in kinds(sessions, new):
        found = resampled(kind, settings, draws)
        both = zip(found.third, found.end, strict=True)
        rows.append([kind.name, kind.count, *(f"{at_third:.2%} / {end:.2%}" for at_third, end in both)])
    header = [
        "new engines of",
        "stored sessions",
        "false alarms",
        *(f"found at +{change:.1%}" for change in CHANGES[1:]),
    ]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def rows_of(judged: str, engines: Sequence[EngineSamples]) -> list[str]:
    """The metric that is judged, then those of its class that every engine has measured: they say how noisy it is."""
    alike = [one.name for one in METRICS.values() if one.kind is METRICS[judged].kind and one.decides]
    return [judged, *(name for name in alike if name != judged and all(engine.values(name) for engine in engines))]


def report(check: str, entry: Entry, new: Mapping[str, Entry], settings: VerdictSettings, draws: int) -> str:
    """The tables of one check."""
    engines = every(entry.sessions)
    title = f"## {check}: {len(engines)} engines in {len(entry.sessions)} sessions\n"
    judged = settings.gate[0]
    together = [*engines, *(engine for one in new.values() for engine in every(one.sessions))]
    if not all(engine.values(judged) for engine in together):
        return (
            f"{title}\n{spread_table(entry.sessions)}\n\n{judged} was not measured on each engine: nothing is judged."
        )
    names = rows_of(judged, together)
    values = engine_values(entry.sessions, names)
    theirs = {name: engine_values(one.sessions, names) for name, one in new.items()}
    margin = settings.margin_of(METRICS[judged])
    parts = [
        title,
        spread_table(entry.sessions),
        f"\n{judged}, margin {margin:.1%}, every split:\n",
        split_table(entry.sessions, settings),
        f"\n{draws} draws a row; by the third engine / in the end:\n",
        resampled_table(values, theirs, settings, draws),
    ]
    return "\n".join(parts)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How well GPU time repeats, and what a gate on it finds.")
    parser.add_argument("file", type=Path, help="a baseline file: the campaign")
    parser.add_argument("--new", type=Path, nargs="*", default=[], help="baseline files of the same checks")
    parser.add_argument("--check", default="", help="checks whose name starts so")
    parser.add_argument("--metric", default="gpu_time", choices=[
        one.name for one in METRICS.values() if one.kind is MetricClass.GPU_TIME
    ])  # fmt: skip
    parser.add_argument("--draws", type=int, default=10000)
    parser.add_argument("--gated", type=int, default=10, help="metrics that share the run's budget of false alarms")
    told = "hyperparameters of the class that draws start from, such as session_sd=0.002"
    parser.add_argument("--prior", nargs="*", default=[], metavar="NAME=VALUE", help=told)
    asked = parser.parse_args()
    kind = METRICS[asked.metric].kind
    tried = {name: float(value) for name, value in (one.split("=") for one in asked.prior)}
    priors = {kind: replace(class_prior(kind), **tried)}  # type: ignore[arg-type]
    settings = VerdictSettings((asked.metric,), a_fail=family_a_fail(asked.gated), priors=priors)
    files = {file.stem: load(file).tests for file in asked.new}
    for check, entry in load(asked.file).tests.items():
        if check.startswith(asked.check):
            new = {name: tests[check] for name, tests in files.items() if check in tests}
            print(report(check, entry, new, settings, asked.draws), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
