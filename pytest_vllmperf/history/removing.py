"""Runs out of a history: exactly those that were named, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Connection, Table, delete, func, select

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history import schema
from pytest_vllmperf.history.adding import chunks
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.records.trends import CHANGES, COMMIT_DIGITS, shown_commit

_ID: Final = 12
_NAME: Final = re.compile(rf"[0-9a-f]{{{COMMIT_DIGITS},}}(?:{re.escape(CHANGES)})?")
_SHOWN: Final = 5
"""Runs that a line names where a name is not clear."""


@dataclass(frozen=True)
class StoredRun:
    """A run of a history, or a session of a baseline file.

    Attributes:
        number: of its row.
        key: a hash of what tells it from all others.
        started: when, as an ISO date and time.
        commit: of the user's repository; None where nobody knows.
        dirty: whether files differed from that commit; None where nobody knows.
        session: whether it is a session of a baseline file.
        values: how many of its values are stored.
    """

    number: int
    key: str
    started: str
    commit: str | None
    dirty: bool | None
    session: bool
    values: int

    @property
    def id(self) -> str:
        """What names it. No other run ever gets the same, as a row's number might."""
        return self.key[:_ID]

    @property
    def shown_commit(self) -> str:
        """Its commit as lists show it."""
        return shown_commit(self.commit, self.dirty)

    def is_named(self, name: str) -> bool:
        """Whether this is its id or its commit, or the beginning of one."""
        text, changes, _ = name.partition(CHANGES)
        of_commit = self.commit is not None and self.commit.startswith(text) and bool(self.dirty) == bool(changes)
        return of_commit or (not changes and self.key.startswith(text))


def stored(database: Database) -> list[StoredRun]:
    """All runs of a history, the newest first.

    Raises:
        HistoryError: when it cannot be read.
    """
    with database.reading() as connection:
        return _stored(connection)


def to_remove(database: Database, names: Sequence[str]) -> list[StoredRun]:
    """The runs that `remove` would take away; nothing is changed.

    Raises:
        HistoryError: see `remove`; and when the history cannot be read.
    """
    return _named(stored(database), names, database.name)


def remove(database: Database, names: Sequence[str]) -> list[StoredRun]:
    """Take runs away in one transaction, with their values, and what no other run has: series and environments.

    Args:
        database: the history.
        names: of one run each: at least seven digits of its id or commit, with `+changes` where lists show that.

    Returns:
        What was taken away.

    Raises:
        HistoryError: for a name that no run has, or several; and where the database cannot be written. Nothing is
            then changed.
    """
    with database.changing() as connection:
        found = _named(_stored(connection), names, database.name)
        for run in found:
            _remove(connection, run.number)
        return found


def _stored(connection: Connection) -> list[StoredRun]:
    of, of_point = schema.run.c, schema.point.c
    counted = select(of_point.run, func.count()).group_by(of_point.run)
    counts = {run: values for run, values in connection.execute(counted)}  # noqa: C416 - rows are no pairs to a type checker
    rows = connection.execute(select(of.id, of.key, of.started, of.commit_hash, of.dirty, of.source))
    found = [
        StoredRun(number, key, started, commit, dirty, source == schema.BASELINE, counts.get(number, 0))
        for number, key, started, commit, dirty, source in rows
    ]
    return sorted(found, key=lambda one: (one.started, one.number), reverse=True)


def _named(runs: Sequence[StoredRun], names: Sequence[str], database: str) -> list[StoredRun]:
    """The runs with these names, each once."""
    return list(dict.fromkeys(_one(runs, name.strip().lower(), database) for name in names))


def _one(runs: Sequence[StoredRun], name: str, database: str) -> StoredRun:
    if not _NAME.fullmatch(name):
        raise HistoryError(
            f"{name!r} is no id or commit of a run: give at least {COMMIT_DIGITS} of its digits (0-9, a-f)"
        )
    found = [run for run in runs if run.is_named(name)]
    if len(found) == 1:
        return found[0]
    if found:
        told = [f"{run.id} (of {run.started})" for run in found[:_SHOWN]]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise HistoryError(
            f"{database}: {name} names {len(found)} runs, so nothing was removed; name them by their ids: "
            f"{', '.join(told)}{more}"
        )
    other = name.removesuffix(CHANGES) if name.endswith(CHANGES) else f"{name}{CHANGES}"
    near = f"; there is {other}" if any(run.is_named(other) for run in runs) else ""
    raise HistoryError(
        f"{database}: no run has the id or commit {name}{near}; nothing was removed. vllmperf history runs lists them"
    )


def _remove(connection: Connection, run: int) -> None:
    of = schema.point.c
    mine = select(of.series, of.environment).where(of.run == run)
    rows = connection.execute(mine).all()
    connection.execute(delete(schema.point).where(of.run == run))
    connection.execute(delete(schema.run).where(schema.run.c.id == run))
    _take_unused(connection, schema.series, of.series, {row[0] for row in rows})
    _take_unused(connection, schema.environment, of.environment, {row[1] for row in rows})


def _take_unused(connection: Connection, table: Table, column: Column[int], numbers: Iterable[int]) -> None:
    """Take away those of these rows that no value names any more."""
    for some in chunks(numbers):
        used = {one for (one,) in connection.execute(select(column).where(column.in_(some)).distinct())}
        if unused := [one for one in some if one not in used]:
            connection.execute(delete(table).where(table.c.id.in_(unused)))
