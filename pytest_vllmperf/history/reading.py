"""A history, read: all values by series, in the order of time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from pytest_vllmperf.history import schema
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.records.trends import Declared, RunOfHistory, SeriesId

_MANY: Final = 500
"""So many numbers stand in one statement."""


@dataclass(frozen=True)
class Place:
    """An environment, as it is stored; read when it is looked at, which few are.

    Attributes:
        hard_text: hard keys, as JSON; two environments are comparable where these are equal.
        soft_text: soft keys, as JSON.
        workload_text: the workload, as JSON.
    """

    hard_text: str
    soft_text: str
    workload_text: str

    @cached_property
    def hard(self) -> dict[str, str]:
        """What has to match for a comparison."""
        return dict(json.loads(self.hard_text))

    @cached_property
    def soft(self) -> dict[str, str]:
        """What may differ."""
        return dict(json.loads(self.soft_text))

    @cached_property
    def workload(self) -> dict[str, Any]:
        """The workload as stored."""
        return dict(json.loads(self.workload_text))


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a series.

    Attributes:
        time: when, in seconds since 1970-01-01 UTC.
        value: in the unit of the metric; None where it was not measured.
        run: that it comes from.
        place: that it was measured in.
        left_out: why it does not count; empty for one that does.
    """

    time: float
    value: float | None
    run: RunOfHistory
    place: Place
    left_out: str


@dataclass(frozen=True)
class Series:
    """All values of one series.

    Attributes:
        id: what it is of.
        metric: what is known of the metric.
        values: in the order of time; at least one.
    """

    id: SeriesId
    metric: Declared
    values: tuple[Value, ...]


@dataclass(frozen=True)
class History:
    """All that is stored.

    Attributes:
        series: by test, check, profile, and in the order in which their metrics were first stored.
        runs: in the order of time.
    """

    series: tuple[Series, ...]
    runs: tuple[RunOfHistory, ...]


def read(database: Database, concerns: Callable[[SeriesId], bool] | None = None) -> History:
    """A history.

    Args:
        database: that it is in.
        concerns: whether a series is wanted; None for all.

    Returns:
        The series that are wanted, and all runs.

    Raises:
        HistoryError: when it cannot be read.
    """
    with database.reading() as connection:
        points = _points(connection, concerns)
        # What points name was stored before them, so it is there, whoever adds meanwhile.
        runs, places, series = _runs(connection), _places(connection), _series(connection)
    found = []
    for key, group in groupby(points, itemgetter(0)):
        rows = list(group)
        named, known = series[key]
        values = tuple(
            Value(time, value, runs[run], places[place], left_out) for _, time, value, run, place, left_out, _ in rows
        )
        gated = any(row[-1] for row in rows)
        found.append((key, Series(named, Declared(**known, gated=gated), values)))
    found.sort(key=lambda one: (one[1].id.test, one[1].id.check, one[1].id.measurement, one[1].id.profile, one[0]))
    ordered = sorted(runs.values(), key=lambda run: (run.started, run.id))
    return History(tuple(one for _, one in found), tuple(ordered))


def _points(connection: Connection, concerns: Callable[[SeriesId], bool] | None) -> list[Row[Any]]:
    """The values of the series that are wanted, by series and time."""
    of = schema.point.c
    wanted = select(of.series, of.time, of.value, of.run, of.environment, of.left_out, of.gated)
    ordered = wanted.order_by(of.series, of.time, of.id)
    if concerns is None:
        return list(connection.execute(ordered))
    numbers = sorted(number for number, (named, _) in _series(connection).items() if concerns(named))
    chunks = (numbers[at : at + _MANY] for at in range(0, len(numbers), _MANY))
    return [row for chunk in chunks for row in connection.execute(ordered.where(of.series.in_(chunk)))]


def _runs(connection: Connection) -> dict[int, RunOfHistory]:
    of = schema.run.c
    wanted = select(of.id, of.started, of.commit_hash, of.dirty, of.complete, of.source)
    return {
        number: RunOfHistory(number, started, commit, dirty, complete, source == schema.BASELINE)
        for number, started, commit, dirty, complete, source in connection.execute(wanted)
    }


def _places(connection: Connection) -> dict[int, Place]:
    of = schema.environment.c
    return {row[0]: Place(*row[1:]) for row in connection.execute(select(of.id, of.hard, of.soft, of.workload))}


def _series(connection: Connection) -> dict[int, tuple[SeriesId, Mapping[str, Any]]]:
    of = schema.series.c
    known = ("label", "unit", "better", "kind", "clock")
    wanted = select(of.id, of.test, of.check_name, of.measurement, of.profile, of.metric, *(of[name] for name in known))
    return {row[0]: (SeriesId(*row[1:6]), dict(zip(known, row[6:], strict=True))) for row in connection.execute(wanted)}
