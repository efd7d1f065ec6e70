"""Runs out of a history: those that were named and no others, and nothing of theirs is left."""

from __future__ import annotations

import sqlite3

import pytest

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history.adding import add
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.reading import read
from pytest_vllmperf.history.removing import remove, stored, to_remove
from pytest_vllmperf.history.sessions import of_baseline
from pytest_vllmperf.records.report import RunReport
from tests.history.conftest import Add
from tests.history.material import SOFT, checked, of_test, run_on, story, throughput, when
from tests.history.test_adding import entry, rows, session

A, B, C = "a" * 40, "b" * 40, "c" * 40


def days(database: Database) -> list[str]:
    """When the runs began that are left."""
    return [run.started for run in read(database).runs]


def on(day: int, commit: str | None, *, dirty: bool = False, value: float = 100.0, soft: str = "580") -> RunReport:
    return run_on(
        day,
        of_test(checked(day, throughput(value), soft={**SOFT, "driver": soft})),
        commit=commit,
        dirty=dirty,
    )


def told(database: Database, *names: str) -> str:
    """The line that a removal fails with; it changes nothing, and neither does what it is asked for alone."""
    before = database.file.read_bytes() if database.file else b""
    with pytest.raises(HistoryError) as caught:
        remove(database, names)
    with pytest.raises(HistoryError) as again:
        to_remove(database, names)
    assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    assert database.file is not None
    assert database.file.read_bytes() == before
    return str(caught.value)


def test_the_run_of_a_commit_and_nothing_else(database: Database, add_runs: Add) -> None:
    add_runs([on(1, A), on(2, B), on(3, C)])
    (gone,) = remove(database, [B[:7]])
    assert (gone.started, gone.commit, gone.values) == (when(2), B, 1)
    assert days(database) == [when(1), when(3)]
    assert [one.run.commit for one in read(database).series[0].values] == [A, C]


def test_by_id_or_the_whole_commit_in_any_case_and_each_once(database: Database, add_runs: Add) -> None:
    add_runs([on(1, A), on(2, B), on(3, C)])
    newest, middle, _ = stored(database)
    gone = remove(database, [newest.id, middle.id[:7], B.upper(), newest.key])
    assert [one.started for one in gone] == [when(3), when(2)]
    assert days(database) == [when(1)]


def test_only_looking_changes_nothing(database: Database, add_runs: Add) -> None:
    add_runs([on(1, A), on(2, B)])
    assert database.file is not None
    before = database.file.read_bytes()
    assert [one.started for one in to_remove(database, [A])] == [when(1)]
    assert database.file.read_bytes() == before


def test_a_commit_with_several_runs_names_none(database: Database, add_runs: Add) -> None:
    add_runs([on(day, A) for day in range(7)] + [on(8, B)])
    line = told(database, B[:7], A[:9])  # of the one that is clear nothing is removed either
    assert "aaaaaaaaa names 7 runs, so nothing was removed; name them by their ids: " in line
    assert f"{stored(database)[1].id} (of {when(6)}), " in line
    assert line.endswith(" and 2 more")
    assert len(days(database)) == 8


def test_two_commits_that_begin_alike_name_none(database: Database, add_runs: Add) -> None:
    add_runs([on(1, "1234567" + "0" * 33), on(2, "1234567" + "f" * 33)])
    assert "1234567 names 2 runs" in told(database, "1234567")
    assert [one.started for one in remove(database, ["12345670"])] == [when(1)]


def test_a_commit_with_changes_is_another_name(database: Database, add_runs: Add) -> None:
    add_runs([on(1, A), on(2, A, dirty=True), on(3, B, dirty=True)])
    assert told(database, B[:7]).endswith(
        "no run has the id or commit bbbbbbb; there is bbbbbbb+changes; nothing was removed. "
        "vllmperf history runs lists them"
    )
    assert [one.started for one in remove(database, ["aaaaaaa+changes"])] == [when(2)]
    assert [one.started for one in remove(database, ["aaaaaaa"])] == [when(1)]
    assert days(database) == [when(3)]


@pytest.mark.parametrize("name", ["", "aaaaaa", "unknown", "%", "aaaaaa%", "2026-01-02", "+changes", "aaaaaaa+change"])
def test_what_is_no_name(database: Database, add_runs: Add, name: str) -> None:
    add_runs([on(1, A), on(2, None)])
    assert f"{name!r} is no id or commit of a run: give at least 7 of its digits" in told(database, name)


def test_a_name_that_no_run_has(database: Database, add_runs: Add) -> None:
    add_runs([on(1, A), on(2, None)])
    line = told(database, A, "ddddddd")
    assert line == (
        f"{database.name}: no run has the id or commit ddddddd; nothing was removed. vllmperf history runs lists them"
    )


def test_what_no_other_run_has_goes_too(database: Database, add_runs: Add) -> None:
    other = run_on(2, of_test(checked(2, throughput(1.0)), nodeid="tests/test_b.py::test_other"), commit=B)
    add_runs([on(1, A, soft="580"), other, on(3, C, soft="secret-590")])
    assert len(rows(database, "vllmperf_environment")) == 3
    remove(database, [B, C])
    (environment,) = rows(database, "vllmperf_environment")
    assert "secret-590" not in environment["soft"]
    (series,) = rows(database, "vllmperf_series")
    assert series["test"] == "tests/test_chat.py::test_chat"
    assert len(rows(database, "vllmperf_point")) == 1


def test_the_last_run_goes_and_may_be_added_again(database: Database, add_runs: Add) -> None:
    report = on(1, A)
    add_runs([report])
    named = stored(database)[0].id
    remove(database, [named])
    for table in ("run", "point", "series", "environment"):
        assert rows(database, f"vllmperf_{table}") == []
    add_runs([on(2, B)])
    assert "no run has the id" in told(database, named)  # not even where the row's number is used again
    (again,) = add_runs([report])
    assert again.values == 1
    assert stored(database)[-1].id == named


def test_a_session_of_a_baseline(database: Database) -> None:
    add(database, of_baseline("tests/test_chat.py", {"test_chat": entry(session(1, 100.0), session(2, 101.0))}))
    newest, oldest = stored(database)
    assert newest.session
    assert newest.shown_commit == "unknown"
    remove(database, [newest.id])
    assert stored(database) == [oldest]


def test_where_nothing_can_be_removed(database: Database, add_runs: Add) -> None:
    with pytest.raises(HistoryError, match="there is no such history"):
        remove(database, [A])
    assert database.file is not None
    assert not database.file.exists()
    database.file.touch()
    assert "holds no history yet" in told(database, A)
    add_runs([on(1, A)])
    readonly = Database(f"sqlite:///file:{database.file}?mode=ro&uri=true", timeout=0.1)
    with pytest.raises(HistoryError, match=r"cannot be written: attempt to write a readonly database"):
        remove(readonly, [A])
    other = sqlite3.connect(database.file, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(HistoryError, match=r"another process has kept it locked for 0\.1 s; nothing was changed"):
        remove(database, [A])
    other.close()
    assert days(database) == [when(1)]


def test_a_fault_in_the_middle_keeps_all(database: Database, add_runs: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_vllmperf.history import removing

    add_runs(story([1.0, 2.0, 3.0]))
    ids = [one.id for one in stored(database)]
    real, done = removing._remove, []

    def fails_at_the_second(connection: object, run: int) -> None:
        done.append(run)
        if len(done) == 2:
            raise RuntimeError("power cut")
        real(connection, run)  # type: ignore[arg-type]

    monkeypatch.setattr(removing, "_remove", fails_at_the_second)
    with pytest.raises(RuntimeError, match="power cut"):
        remove(database, ids)
    assert len(days(database)) == 3
    assert len(rows(database, "vllmperf_point")) == 3
