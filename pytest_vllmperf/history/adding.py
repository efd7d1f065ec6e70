"""Runs into a history: all of them, or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select

from pytest_vllmperf.history import schema
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.taking import Point, Taken, digest

_MANY: Final = 500
"""Values that one query names; databases allow some thousands."""


@dataclass(frozen=True)
class Added:
    """What became of a run.

    Attributes:
        taken: the run.
        values: how many of its values were added; None where the history has the run already.
        known: how many of its values the history has from another file.
    """

    taken: Taken
    values: int | None
    known: int = 0


def add(database: Database, runs: Sequence[Taken]) -> list[Added]:
    """Add runs in one transaction. A run, or a value, that is there already is not added again.

    The file of a run and a baseline file may tell of the same session. The file of the run says more, so its values
    replace those of the baseline file, and never the other way round.

    Args:
        database: the history; made where there is none.
        runs: to be added.

    Raises:
        HistoryError: when the database cannot be written. Nothing is then changed.
    """
    with database.writing() as connection:
        return [_add(connection, taken) for taken in runs]


def _add(connection: Connection, taken: Taken) -> Added:
    if connection.execute(select(schema.run.c.id).where(schema.run.c.key == taken.key)).first():
        return Added(taken, None)
    keys = {one: _series_key(one) for one in taken.points}
    series = _ids(connection, schema.series, {key: _series_row(one) for one, key in keys.items()})
    identities = {one: (series[key], one.time, one.value, _engines(one)) for one, key in keys.items()}
    there = _there(connection, {one.time for one in taken.points})
    twins = {one: there[identity] for one, identity in identities.items() if identity in there}
    replaced = {one: twin for one, twin in twins.items() if twin.source == schema.BASELINE != taken.source}
    fresh = [one for one in taken.points if one not in twins or one in replaced]
    if taken.points and not fresh:
        return Added(taken, 0, len(taken.points))
    _take_away(connection, [twin.id for twin in replaced.values()])
    places = {one: digest(one.environment) for one in fresh}
    environments = _ids(connection, schema.environment, {key: _place(one) for one, key in places.items()})
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    row = {**taken.run, "key": taken.key, "source": taken.source, "added": now}
    run = connection.execute(insert(schema.run).values(row)).inserted_primary_key[0]
    if fresh:
        keyed = [(one, {"series": series[keys[one]], "environment": environments[places[one]]}) for one in fresh]
        connection.execute(insert(schema.point), [{"run": run, **key, **_point_row(one)} for one, key in keyed])
    return Added(taken, len(fresh), len(taken.points) - len(fresh))


@dataclass(frozen=True)
class _There:
    """A value that the history has already."""

    id: int
    source: str


Identity = tuple[int, float, float | None, str]
"""What makes two values the same: series, time, value, and the medians of the engine starts."""


def _there(connection: Connection, when: set[float]) -> dict[Identity, _There]:
    """Values that were measured at these times."""
    of_point, of_run = schema.point.c, schema.run.c
    wanted = select(of_point.id, of_run.source, of_point.series, of_point.time, of_point.value, of_point.engines)
    joined = wanted.join(schema.run, of_run.id == of_point.run)
    found: dict[Identity, _There] = {}
    for times in chunks(when):
        for number, source, series, time, value, engines in connection.execute(joined.where(of_point.time.in_(times))):
            found[series, time, value, engines] = _There(number, source)
    return found


def _take_away(connection: Connection, points: Sequence[int]) -> None:
    """Take values of baseline files away, and sessions that have none left."""
    for ids in chunks(points):
        of_point = schema.point.c
        runs = [one for (one,) in connection.execute(select(of_point.run).where(of_point.id.in_(ids)).distinct())]
        connection.execute(delete(schema.point).where(of_point.id.in_(ids)))
        left = {one for (one,) in connection.execute(select(of_point.run).where(of_point.run.in_(runs)).distinct())}
        if gone := [one for one in runs if one not in left]:
            connection.execute(delete(schema.run).where(schema.run.c.id.in_(gone)))


def _ids(connection: Connection, table: Table, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The ids of rows by their keys; those that are not there are made."""
    found: dict[str, int] = {}
    for keys in chunks(rows):
        found |= _known(connection, table, keys)
    missing = [key for key in rows if key not in found]
    if missing:
        connection.execute(insert(table), [{**rows[key], "key": key} for key in missing])
        for keys in chunks(missing):
            found |= _known(connection, table, keys)
    return found


def _known(connection: Connection, table: Table, keys: Sequence[str]) -> dict[str, int]:
    wanted = select(table.c.key, table.c.id).where(table.c.key.in_(keys))
    return {key: number for key, number in connection.execute(wanted)}  # noqa: C416 - rows are no pairs to a type checker


def chunks(values: Iterable[Any]) -> Iterable[list[Any]]:
    """The same in lists that one statement may name."""
    rest = iter(values)
    while chunk := list(islice(rest, _MANY)):
        yield chunk


def _series_key(one: Point) -> str:
    named = one.series
    return digest([named.test, named.check, named.measurement, named.profile, named.metric])


def _series_row(one: Point) -> dict[str, Any]:
    known, named = one.metric, one.series
    return {
        "test": named.test,
        "check_name": named.check,
        "measurement": named.measurement,
        "profile": named.profile,
        "metric": named.metric,
        "label": known.label,
        "unit": known.unit,
        "better": known.better,
        "kind": known.kind,
        "clock": known.clock,
    }


def _place(one: Point) -> dict[str, str]:
    return dict(zip(("hard", "soft", "workload"), one.environment, strict=True))


def _point_row(one: Point) -> dict[str, Any]:
    return {
        "time": one.time,
        "value": one.value,
        "engines": _engines(one),
        "status": one.status,
        "check_status": one.check_status,
        "gated": one.metric.gated,
        "baseline": one.baseline,
        "change": one.change,
        "left_out": one.left_out,
    }


def _engines(one: Point) -> str:
    return json.dumps([value if math.isfinite(value) else None for value in one.engines])
