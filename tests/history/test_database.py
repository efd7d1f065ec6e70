"""The database of a history: what is wrong with it is said in one line, and nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history import schema
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.reading import read
from tests.faults import files_up_to
from tests.history.conftest import Add
from tests.history.material import story


def changed(path: Path, statement: str) -> Path:
    """Do something to a history behind our back."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
    return path


def message(act: Callable[[], object]) -> str:
    with pytest.raises(HistoryError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def path(database: Database, add_runs: Add) -> Path:
    """A history with two runs."""
    add_runs(story([100.0, 101.0]))
    assert database.file is not None
    return database.file


def test_one_that_is_not_there_is_not_made_by_looking(database: Database) -> None:
    assert message(lambda: read(database)) == (
        f"{database.name}: there is no such history; make it with: vllmperf history add RUN.json"
    )
    assert database.file is not None
    assert not database.file.exists()


def test_an_empty_file_becomes_one(database: Database, add_runs: Add) -> None:
    assert database.file is not None
    database.file.touch()
    assert "holds no history yet" in message(lambda: read(database))
    add_runs(story([100.0]))
    assert len(read(database).runs) == 1


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("update vllmperf_schema set version = 2", "is of version 2, newer than this release reads (1); update"),
        ("update vllmperf_schema set version = 0", "is of version 0, older than this release reads (1); add the files"),
        ("update vllmperf_schema set name = 'somebody/else'", "is not a history of vllmperf, or is damaged"),
        ("delete from vllmperf_schema", "is not a history of vllmperf, or is damaged"),
        ("drop table vllmperf_schema", "is a database of another program"),
        ("alter table vllmperf_point drop column left_out", "its tables are not those of this release"),
    ],
)
def test_another_version_or_program(
    path: Path, database: Database, add_runs: Add, statement: str, expected: str
) -> None:
    before = changed(path, statement).read_bytes()
    for act in (lambda: read(database), lambda: add_runs(story([1.0, 2.0, 3.0])[2:])):
        assert expected in message(act)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_left_alone(tmp_path: Path, database: Database, add_runs: Add) -> None:
    path = changed(tmp_path / "history.db", "create table songs (name text)")
    before = path.read_bytes()
    for act in (lambda: read(database), lambda: add_runs(story([1.0]))):
        assert "is a database of another program; name another file" in message(act)
    assert path.read_bytes() == before


def test_no_database_at_all(tmp_path: Path, database: Database, add_runs: Add) -> None:
    (tmp_path / "history.db").write_text("notes about a holiday, and what the weather was like\n" * 50)
    for act in (lambda: read(database), lambda: add_runs(story([1.0]))):
        assert "is not a database of SQLite, or is damaged" in message(act)
    assert (tmp_path / "history.db").read_text().startswith("notes")


def test_one_that_is_locked(path: Path, database: Database, add_runs: Add) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    for act in (lambda: read(database), lambda: add_runs(story([1.0, 2.0, 3.0]))):
        assert message(act) == (f"{path}: another process has kept it locked for 0.1 s; nothing was changed, try again")
    other.execute("rollback")
    other.close()
    assert len(read(database).runs) == 2


def test_a_disk_that_is_full(path: Path, database: Database, add_runs: Add) -> None:
    values = [float(value) for value in range(200, 500)]
    with files_up_to(path.stat().st_size + 4096):
        assert "cannot be written: " in message(lambda: add_runs(story(values)))
    assert len(read(database).runs) == 2  # of all that fitted, nothing was kept
    add_runs(story(values))
    assert len(read(database).runs) == 302


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "no" / "history.db"))
    assert "there is no such history" in message(lambda: read(database))
    with pytest.raises(HistoryError, match="cannot be written: unable to open database file"), database.writing():
        pass


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    assert message(lambda: Database(str(tmp_path))) == f"{tmp_path}: is a folder; name a file"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", "is no name of a database"),
        ("a\x00b", "is no name of a database"),
        ("nosuch://host/name", "SQLAlchemy knows no database 'nosuch'"),
        ("postgresql+pg8000x://me:secret@host/name", "SQLAlchemy knows no database"),
        ("mysql+aiomysql://me:secret@host/name", "its driver aiomysql is not installed; install it with pip"),
        ("postgresql://me:secret@[::1/name", "the URL of the database is not valid"),
        ("postgresql://me:secret@host:port/name", "the URL of the database is not valid"),
    ],
)
def test_a_url_that_is_not_valid(where: str, expected: str) -> None:
    def act() -> object:
        with Database(where).writing() as connection:
            return connection

    text = message(act)
    assert expected in text
    assert "secret" not in text


def test_a_server_that_does_not_answer() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    database = Database("postgresql+psycopg://me:secret@127.0.0.1:1/name", timeout=1)
    text = message(lambda: read(database))
    assert text.startswith("postgresql+psycopg://me:***@127.0.0.1:1/name: cannot be read: ")
    assert "secret" not in text.replace("***", "")


def test_a_url_of_sqlite_is_a_file(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    assert database.file == tmp_path / "a.db"
    with database.writing():
        pass
    assert len(read(database).runs) == 0
    assert changed(tmp_path / "a.db", f"select * from {schema.run.name}")
