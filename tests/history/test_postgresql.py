"""The same on a real PostgreSQL: a server of its own, started by this test; skipped where none is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history.adding import add
from pytest_vllmperf.history.choosing import Choice
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.finding import Rule, find
from pytest_vllmperf.history.of_run import trends_of
from pytest_vllmperf.history.reading import read
from pytest_vllmperf.history.removing import remove, stored
from pytest_vllmperf.history.taking import of_run
from tests.history.material import SOFT, checked, of_test, run_on, story, throughput
from tests.reporting import HOSTILE, hostile_run

pytest.importorskip("psycopg", reason="psycopg, a driver of PostgreSQL, is not installed")

PORT = "5432"  # names the socket in the server's folder; nothing listens on the network


def _binaries() -> Path:
    """The folder of the server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    where = shutil.which("initdb")
    folder = Path(where).resolve().parent if where else found[-1] if found else None
    if folder is None or not (folder / "postgres").exists():
        pytest.skip("no PostgreSQL server is installed here")
    return folder


def _as_user() -> Sequence[str]:
    """How to start a program as somebody else than root, as whom the server refuses to run."""
    if os.geteuid() != 0:
        return ()
    with suppress(KeyError):
        pwd.getpwnam("postgres")
        return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The folder of a running server's socket."""
    binaries, user = _binaries(), _as_user()
    with tempfile.TemporaryDirectory(prefix="vp-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        make = [*user, str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-N"]
        done = subprocess.run(make, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        options = ["-k", name, "-p", PORT, "-c", "listen_addresses=", "-F"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [*user, str(binaries / "postgres"), "-D", str(data), *options], stderr=log, cwd="/"
            )
        try:
            _wait(folder, process)
            yield folder
        finally:
            process.send_signal(signal.SIGINT)  # whoever is connected is not waited for
            process.wait(60)


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with suppress(sqlalchemy.exc.OperationalError):
            execute(_url(folder, "postgres"), "select 1")
            return
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


def _url(folder: Path, name: str) -> str:
    return f"postgresql+psycopg://tester:secret@/{name}?host={folder}&port={PORT}"


@pytest.fixture
def url(server: Path, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    name = f"t{abs(hash(request.node.nodeid))}"
    engine = sqlalchemy.create_engine(_url(server, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"create database {name} encoding 'UTF8' template template0"))
    engine.dispose()
    return _url(server, name)


def execute(url: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def test_what_is_added_is_found(url: str) -> None:
    database = Database(url)
    with pytest.raises(HistoryError, match=r"holds no history yet") as caught:
        read(database)
    assert "secret" not in str(caught.value)
    values = [1000.0 + day % 3 for day in range(20)] + [900.0 + day % 3 for day in range(10)]
    taken = [of_run(one) for one in story(values, change_at=20, soft={**SOFT, "driver": "590.1"})]
    assert [one.values for one in add(database, taken)] == [1] * 30
    assert [one.values for one in add(database, taken[:2])] == [None, None]
    (trend,) = find(read(database), Choice(), Rule()).trends
    (shift,) = trend.shifts
    assert (shift.at, shift.changed) == (20, ("driver 580.95 -> 590.1",))


def test_hostile_names_and_what_the_server_refuses(url: str) -> None:
    database = Database(url)
    nul = run_on(1, of_test(checked(1, throughput(1.0), name="\x00"), nodeid="test_a.py::test[\x00\udc80]"))
    add(database, [of_run(hostile_run()), of_run(nul)])
    names = {(series.id.test, series.id.check) for series in read(database).series}
    expected = {(f"test_a.py::test[{name}]", f"{name} {which}") for name in HOSTILE for which in (1, 2)}
    assert names == {*expected, ("test_a.py::test[\\x00\\udc80]", "\\x00")}


def test_tables_of_others_are_left_alone(url: str) -> None:
    execute(url, "create table songs (name text)")
    add(Database(url), [of_run(story([1.0])[0])])
    assert len(read(Database(url)).runs) == 1
    execute(url, "insert into songs values ('x')")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("update vllmperf_schema set version = 2", "is of version 2, newer"),
        ("update vllmperf_schema set version = 0", "is of version 0, older"),
        ("delete from vllmperf_schema", "is damaged"),
        ("alter table vllmperf_point drop column left_out", "its tables are not those of this release"),
    ],
)
def test_another_version(url: str, statement: str, expected: str) -> None:
    add(Database(url), [of_run(story([1.0])[0])])
    execute(url, statement)
    for act in (lambda: read(Database(url)), lambda: add(Database(url), [of_run(story([1.0, 2.0])[1])])):
        with pytest.raises(HistoryError, match=expected) as caught:
            act()
        assert "\n" not in str(caught.value)


def test_one_that_is_locked(url: str) -> None:
    add(Database(url), [of_run(story([1.0])[0])])
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as other:
        other.execute(sqlalchemy.text("select * from vllmperf_schema for update"))
        with pytest.raises(HistoryError, match=r"another process has kept it locked for 0\.2 s; nothing was changed"):
            add(Database(url, timeout=0.2), [of_run(story([1.0, 2.0])[1])])
        assert len(read(Database(url)).runs) == 1  # who only reads does not wait
    engine.dispose()


def test_nothing_is_kept_where_one_fails(url: str) -> None:
    add(Database(url), [of_run(story([1.0])[0])])
    execute(url, "alter table vllmperf_run add constraint early check (started < '2026-01-03')")
    with pytest.raises(HistoryError, match="cannot be written"):
        add(Database(url), [of_run(one) for one in story([1.0] * 4)])
    assert len(read(Database(url)).runs) == 1


def test_the_trends_of_a_run(url: str) -> None:
    *earlier, last = story([1000.0] * 12 + [900.0], change_at=12, soft={**SOFT, "driver": "590.10"})
    database = Database(url)
    add(database, [of_run(report) for report in earlier])
    told = trends_of(database, last)
    assert told.found is not None
    (shift,) = told.found.trends[0].shifts
    assert (shift.worse, shift.changed) == (True, ("driver 580.95 -> 590.10",))
    assert "secret" not in told.source


def test_a_run_is_removed(url: str) -> None:
    database = Database(url)
    with pytest.raises(HistoryError, match=r"holds no history yet"):
        remove(database, ["1a2b3c4"])
    add(database, [of_run(one) for one in story([1.0, 2.0, 3.0])])
    newest, middle, oldest = stored(database)
    assert remove(database, [middle.id]) == [middle]
    assert stored(database) == [newest, oldest]
    with pytest.raises(HistoryError, match="nothing was removed"):
        remove(database, [newest.id, middle.id])
    assert stored(database) == [newest, oldest]
