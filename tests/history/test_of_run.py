"""The trends of the checks of one run: only these, with the run itself, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.of_run import trends_of
from pytest_vllmperf.history.opening import place
from tests.history.conftest import Add
from tests.history.material import HARD, SOFT, checked, of_test, run_on, story, throughput
from tests.reporting import run_of

OTHER = "tests/test_other.py::test_other"
NEW_VLLM = {**SOFT, "version of vllm": "0.33.0"}


def test_the_run_itself_is_among_the_values(database: Database, add_runs: Add) -> None:
    *earlier, last = story([1000.0] * 8 + [900.0] * 2, change_at=9, soft=NEW_VLLM)
    add_runs(earlier)
    told = trends_of(database, last)
    assert (told.source, told.earlier, told.problem) == ("history.db", 9, "")
    assert told.found is not None
    (trend,) = told.found.trends
    assert trend.values == (1000.0,) * 8 + (900.0,) * 2
    assert trend.runs[-1].commit == last.run.commit
    assert [shift.at for shift in trend.shifts] == [8]


def test_a_slowdown_in_the_run_itself_is_a_change_with_its_cause(database: Database, add_runs: Add) -> None:
    *earlier, last = story([1000.0] * 12 + [900.0], change_at=12, soft=NEW_VLLM)
    add_runs(earlier)
    told = trends_of(database, last)
    assert told.found is not None
    (shift,) = told.found.trends[0].shifts
    assert (shift.worse, shift.changed) == (True, ("vLLM 0.32.0 -> 0.33.0",))
    assert shift.first_after.commit == last.run.commit


def test_a_run_that_was_added_already_counts_once(database: Database, add_runs: Add) -> None:
    reports = story([1000.0, 1001.0, 1002.0])
    add_runs(reports)
    told = trends_of(database, reports[-1])
    assert told.found is not None
    assert told.found.trends[0].values == (1000.0, 1001.0, 1002.0)
    assert told.earlier == 2
    assert told.found.runs == 3


def test_only_the_checks_of_the_run(database: Database, add_runs: Add) -> None:
    both = [run_on(day, of_test(checked(day, throughput(1.0))), of_test(checked(day, throughput(2.0)), nodeid=OTHER))
            for day in range(3)]  # fmt: skip
    add_runs(both)
    told = trends_of(database, run_on(3, of_test(checked(3, throughput(2.0)), nodeid=OTHER)))
    assert told.found is not None
    assert [trend.id.test for trend in told.found.trends] == [OTHER]
    assert not any("test_chat" in note for note in told.found.notes)


def test_a_check_without_an_earlier_value_is_named(database: Database, add_runs: Add) -> None:
    add_runs(story([1000.0]))
    told = trends_of(database, run_on(3, of_test(checked(3, throughput(2.0)), nodeid=OTHER)))
    assert told.earlier == 0
    assert told.found is not None
    assert f"no earlier value of {OTHER}" in told.found.notes


def test_another_model_is_not_compared(database: Database, add_runs: Add) -> None:
    add_runs(story([1000.0] * 5))
    told = trends_of(database, run_on(5, of_test(checked(5, throughput(500.0), hard={**HARD, "model": "large"}))))
    assert told.found is not None
    assert [trend.values for trend in told.found.trends] == [(1000.0,) * 5, (500.0,)]
    assert told.found.trends[1].began is not None


def test_a_run_that_measured_nothing(database: Database, add_runs: Add) -> None:
    add_runs(story([1000.0]))
    told = trends_of(database, run_of())
    assert (told.earlier, told.found and told.found.trends) == (0, ())


def test_nothing_is_added(database: Database, add_runs: Add) -> None:
    add_runs(story([1000.0]))
    assert database.file is not None
    before = database.file.read_bytes()
    trends_of(database, story([1000.0, 1001.0])[-1])
    assert database.file.read_bytes() == before


def test_no_history_is_an_error_and_makes_none(database: Database) -> None:
    with pytest.raises(HistoryError, match="there is no such history"):
        trends_of(database, story([1000.0])[0])
    assert database.file is not None
    assert not database.file.exists()


def test_a_password_is_not_in_its_name() -> None:
    query = "?host=/run/pg&password=hush-hush&sslpassword=hush-hush"
    for url in ("postgresql://me:hush-hush@host/db", f"postgresql://me@host/db{query}"):
        assert "hush-hush" not in Database(url).name
        assert "host/db" in Database(url).name
    assert "run%2Fpg" in Database(f"postgresql://me@/db{query}").name


def test_which_history_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLMPERF_HISTORY", raising=False)
    assert place(None) == "vllmperf-history.db"
    assert place("", Path("/project")) == "/project/vllmperf-history.db"
    assert place("own.db", Path("/project")) == "/project/own.db"
    assert place("sqlite:///own.db", Path("/project")) == "sqlite:///own.db"
    monkeypatch.setenv("VLLMPERF_HISTORY", "theirs.db")
    assert place("", Path("/project")) == "theirs.db"
    assert place("own.db") == "own.db"
