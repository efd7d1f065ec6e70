"""Stored and new engines, drawn out of a campaign and judged by the verdict's rule: see `bench.gpu_time`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import EngineTable, FloatArray, fit, flatten, tabulate
from pytest_vllmperf.verdict import CODES, Course, Outcome, VerdictSettings, look, run_course
from pytest_vllmperf.verdict.priors import SESSIONS_TO_FIT, fit_tables

STORED: Final = 3
"""Engines of a stored session that a draw takes."""
NEW: Final = 6
CHANGES: Final = (0.0, 0.01, 0.015, 0.02, 0.05)
STORED_SESSIONS: Final = (1, 3)
RED: Final = (CODES[Status.REGRESSED], CODES[Status.DRIFTED])


def engine_values(sessions: Sequence[Session], names: Sequence[str]) -> list[FloatArray]:
    """Of each session its engines' values, shape (metrics, engines), log units, larger is worse.

    Raises:
        SampleError: where an engine has not measured one of these metrics.
    """
    layout = [len(session.engines) for session in sessions]
    rows = [
        tabulate([flatten([[one.values(name) for one in every(sessions)]], name)], [METRICS[name].better]).values[0]
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


@dataclass(frozen=True)
class Parts(Kind):
    """Stored sessions are parts of all sessions but the new one: where there are not sessions enough."""

    @property
    def possible(self) -> bool:
        """Whether any other sessions leave engines enough, and there are not sessions enough as they are."""
        if not self.sessions:
            return False
        total, largest = sum(one.shape[1] for one in self.sessions), max(one.shape[1] for one in self.sessions)
        return len(self.sessions) <= self.count and total - largest >= STORED * self.count

    def draw(self, rng: random.Random) -> Drawn:
        """One baseline, and the engines that are judged by it."""
        *others, new = rng.sample(self.sessions, len(self.sessions))
        pool, count = np.concatenate(others, axis=1), STORED * self.count
        return Drawn(_columns(rng, pool, count), (STORED,) * self.count, _columns(rng, new, NEW))


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
        found.append(Parts("another session, stored are parts", stored, count))
        found += [Kind(name, stored, count, theirs) for name, theirs in judged.items() if theirs]
    return [kind for kind in found if kind.possible]


def _long(sessions: Sequence[FloatArray]) -> list[FloatArray]:
    return [one for one in sessions if one.shape[1] >= STORED]
