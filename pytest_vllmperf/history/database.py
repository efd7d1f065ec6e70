"""The database of a history: opened, its schema checked, and every fault of it said in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Connection, Engine, exc, select
from sqlalchemy.engine import URL, make_url

from pytest_vllmperf.errors import HistoryError, in_one_line
from pytest_vllmperf.history import schema
from pytest_vllmperf.history.opening import TIMEOUT_S, is_url
from pytest_vllmperf.records.masking import is_secret_name, masked_text

_CONNECT_TIMEOUT: Final = {"psycopg": "connect_timeout", "psycopg2": "connect_timeout", "pymysql": "connect_timeout"}
_OTHER_TABLES: Final = ("no such column", "no column named", "no such table", "undefinedcolumn", "undefinedtable")
_LOCKED: Final = ("database is locked", "locknotavailable", "lock timeout", "lock wait timeout")


class Database:
    """A history.

    Args:
        where: a file of SQLite, or any URL of SQLAlchemy.
        timeout: seconds that a locked database is waited for.

    Raises:
        HistoryError: for a URL that is not valid, or whose driver is not installed, and for a folder.
    """

    def __init__(self, where: str, timeout: float = TIMEOUT_S) -> None:
        self._url = _url(where)
        self._timeout = timeout
        path = self._url.database if self._url.get_backend_name() == "sqlite" else None
        self.file = Path(path) if path and path != ":memory:" and not path.startswith("file:") else None
        self.name = str(self.file) if self.file is not None else _name(self._url)
        """The database, for a person; without a password."""
        if self.file is not None and self.file.is_dir():
            raise HistoryError(f"{self.name}: is a folder; name a file")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the history.

        Raises:
            HistoryError: where there is no history, it is locked or of another version, or cannot be read.
        """
        self._see_that_it_exists()
        with self._connected("read", lock="BEGIN") as connection:
            self._see_that_it_is_ours(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection that nobody else writes beside. All is kept if the body ends without an error, else nothing.

        Tables are made in a database that has none of ours.

        Raises:
            HistoryError: where the database is locked, of another version or not a history, or cannot be written.
        """
        with self._connected("written", lock="BEGIN IMMEDIATE") as connection:
            if not self._is_ours(connection):
                self._make(connection)
            _lock(connection)
            yield connection

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """The same of a history that is there: none is made.

        Raises:
            HistoryError: where there is no history, and as `writing`.
        """
        self._see_that_it_exists()
        with self._connected("written", lock="BEGIN IMMEDIATE") as connection:
            self._see_that_it_is_ours(connection)
            _lock(connection)
            yield connection

    def _see_that_it_exists(self) -> None:
        if self.file is not None and not self.file.exists():
            raise HistoryError(f"{self.name}: there is no such history; make it with: vllmperf history add RUN.json")

    def _see_that_it_is_ours(self, connection: Connection) -> None:
        if not self._is_ours(connection):
            raise HistoryError(f"{self.name}: holds no history yet; make it with: vllmperf history add RUN.json")

    @contextmanager
    def _connected(self, purpose: str, lock: str) -> Iterator[Connection]:
        engine = self._engine(lock)
        try:
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    wait = str(int(self._timeout * 1000))
                    connection.execute(select(sqlalchemy.func.set_config("lock_timeout", wait, True)))
                yield connection
        except (exc.SQLAlchemyError, sqlite3.Error) as error:
            raise self._explained(error, purpose) from None
        finally:
            engine.dispose()

    def _engine(self, lock: str) -> Engine:
        try:
            engine = sqlalchemy.create_engine(
                self._url, connect_args=self._arguments(), poolclass=sqlalchemy.pool.NullPool
            )
        except ModuleNotFoundError as error:
            raise HistoryError(f"{self.name}: its driver {error.name} is not installed; install it with pip") from None
        except exc.NoSuchModuleError:
            raise HistoryError(f"{self.name}: SQLAlchemy knows no database {self._url.drivername!r}") from None
        except exc.ArgumentError as error:
            raise HistoryError(f"{self.name}: {_first_line(error)}") from None
        if engine.dialect.name == "sqlite":
            # Python's driver commits before tables are made; so transactions are begun by hand.
            sqlalchemy.event.listen(engine, "connect", _leave_transactions)
            sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(lock))
        return engine

    def _arguments(self) -> dict[str, Any]:
        """How long the driver waits, in its own words."""
        if self._url.get_backend_name() == "sqlite":
            return {"timeout": self._timeout}
        name = _CONNECT_TIMEOUT.get(self._url.get_driver_name())
        return {} if name is None else {name: max(1, round(self._timeout))}

    def _is_ours(self, connection: Connection) -> bool:
        """Whether it holds our tables, of this version; False where it holds none of ours, and may be given them.

        Raises:
            HistoryError: where it holds those of another version, or another program's file.
        """
        tables = set(sqlalchemy.inspect(connection).get_table_names())
        if schema.schema.name not in tables:
            ours = sorted(tables & set(schema.metadata.tables))
            if ours or (tables and self.file is not None):
                raise HistoryError(f"{self.name}: is a database of another program; name another file")
            return False
        found = connection.execute(select(schema.schema)).all()
        if len(found) != 1 or found[0][0] != schema.NAME:
            raise HistoryError(f"{self.name}: is not a history of vllmperf, or is damaged; name another one")
        version = found[0][1]
        if version > schema.VERSION:
            raise HistoryError(
                f"{self.name}: is of version {version}, newer than this release reads ({schema.VERSION}); "
                "update pytest-vllmperf"
            )
        if version < schema.VERSION:
            raise HistoryError(
                f"{self.name}: is of version {version}, older than this release reads ({schema.VERSION}); "
                "add the files of the runs to a new history"
            )
        return True

    def _make(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":  # of two that make them, one waits
            connection.execute(select(sqlalchemy.func.pg_advisory_xact_lock(0x766C6C6D)))
            if self._is_ours(connection):
                return
        schema.metadata.create_all(connection)
        connection.execute(schema.schema.insert().values(name=schema.NAME, version=schema.VERSION))

    def _explained(self, error: Exception, purpose: str) -> HistoryError:
        """One line: what the database said, and what to do."""
        cause = getattr(error, "orig", None) or error
        said = _first_line(cause)
        words = f"{type(cause).__name__} {said}".lower()
        if any(sign in words for sign in _LOCKED):
            return HistoryError(
                f"{self.name}: another process has kept it locked for {self._timeout:g} s; nothing was changed, "
                "try again"
            )
        if "file is not a database" in words or "malformed" in words:
            return HistoryError(f"{self.name}: is not a database of SQLite, or is damaged; name another file")
        if any(sign in words for sign in _OTHER_TABLES):
            return HistoryError(f"{self.name}: its tables are not those of this release; name another one")
        return HistoryError(f"{self.name}: cannot be {purpose}: {masked_text(said)}")


def _lock(connection: Connection) -> None:
    """Whoever writes beside this waits, in databases that do not lock the whole file."""
    connection.execute(select(schema.schema.c.version).with_for_update()).all()


def _url(where: str) -> URL:
    if not is_url(where):
        if not where.strip() or "\x00" in where:
            raise HistoryError(f"{where!r} is no name of a database; name a file, or a URL of SQLAlchemy")
        return URL.create("sqlite", database=where)
    try:
        return make_url(where)
    except (exc.ArgumentError, ValueError):  # their text holds the URL, and with it a password
        raise HistoryError(
            "the URL of the database is not valid; write it as postgresql+psycopg://USER:PASSWORD@HOST/NAME"
        ) from None


def _name(url: URL) -> str:
    """A URL as messages show it, without passwords. The query may contain one, too."""
    told = {key: value for key, value in url.query.items() if not is_secret_name(key)}
    return str(url.set(query=told).render_as_string(hide_password=True))


def _leave_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else in_one_line(error)
