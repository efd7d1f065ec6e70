"""The trends of the checks of one run, with what it measured itself, whether or not the history has it already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history import finding, reading, taking
from pytest_vllmperf.history.choosing import ALL, DEFAULT, Choice, Metrics
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.reading import History, Place, Series, Value
from pytest_vllmperf.history.taking import Point, Taken
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.trends import Declared, RunOfHistory, RunTrends, SeriesId

_Check = tuple[str, str, int, str]
_NAMED: Final = 3
"""So many names stand in a note; the others are counted."""


def trends_of(database: Database, report: RunReport) -> RunTrends:
    """The trends of the checks and measurements of a run. Nothing is added to the history.

    Args:
        database: the history.
        report: the run, whose texts hold no secrets any more.

    Raises:
        HistoryError: where the history cannot be read, or a time in the run is none.
    """
    try:
        taken = taking.of_run(report)
    except ValueError as error:
        raise HistoryError(f"a time in the run is no ISO date and time: {error}") from None
    checks = {_check(one.series) for one in taken.points}
    stored = reading.read(database, lambda series: _check(series) in checks)
    found = finding.find(with_run(stored, taken), _choice(taken), finding.Rule())
    own = {_identity(one) for one in taken.points}
    earlier = [(one, value) for one in stored.series for value in one.values
               if (one.id, value.time, value.value) not in own]  # fmt: skip
    notes = (*_alone(taken, {_check(one.id) for one, _ in earlier}), *found.notes)
    name = database.name if database.file is None else database.file.name
    return RunTrends(name, replace(found, notes=notes), len({value.run.id for _, value in earlier}))


def with_run(history: History, taken: Taken) -> History:
    """A history as it would be with one more run; values that it has already count once. Pure.

    Args:
        history: what is stored.
        taken: the run.

    Returns:
        The history, with the runs that have a value in it.
    """
    known = {one.id: one for one in history.series}
    there = {(one.id, value.time, value.value) for one in history.series for value in one.values}
    run = _run(history, taken)
    for point in taken.points:
        if _identity(point) not in there:
            known[point.series] = _longer(known.get(point.series), point, run)
    series = sorted(known.values(), key=lambda one: _check(one.id))
    runs = {value.run.id: value.run for one in series for value in one.values}
    return History(tuple(series), tuple(sorted(runs.values(), key=lambda one: (one.started, one.id))))


def _longer(series: Series | None, point: Point, run: RunOfHistory) -> Series:
    """A series with one more value; a new one where there was none."""
    value = Value(point.time, point.value, run, Place(*point.environment), point.left_out)
    if series is None:
        return Series(point.series, point.metric, (value,))
    metric: Declared = replace(series.metric, gated=series.metric.gated or point.metric.gated)
    return Series(series.id, metric, tuple(sorted((*series.values, value), key=lambda one: one.time)))


def _run(history: History, taken: Taken) -> RunOfHistory:
    """The run, with a number that no other has."""
    told = taken.run
    number = max((one.id for one in history.runs), default=0) + 1
    return RunOfHistory(number, told["started"], told["commit_hash"], told["dirty"], told["complete"])


def _choice(taken: Taken) -> Choice:
    """What decides checks and what users feel; all metrics where the run has none of these."""
    metrics = Metrics(DEFAULT, [one.series.metric for one in taken.points])
    usual = any(metrics.include(one.series.metric, one.metric) for one in taken.points)
    return Choice() if usual else Choice((ALL,))


def _alone(taken: Taken, known: set[_Check]) -> Iterator[str]:
    """Checks of the run that the history has no earlier value of."""
    named = {_check(one.series): one.series.subject for one in taken.points if _check(one.series) not in known}
    names = list(named.values())
    if names:
        more = len(names) - _NAMED
        yield f"no earlier value of {', '.join(names[:_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _identity(point: Point) -> tuple[SeriesId, float, float | None]:
    return point.series, point.time, point.value


def _check(one: SeriesId) -> _Check:
    return one.test, one.check, one.measurement, one.profile
