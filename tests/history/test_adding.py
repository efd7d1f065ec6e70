"""Runs into a history: all or nothing, and nothing twice."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.history import adding
from pytest_vllmperf.history.adding import add
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.reading import read
from pytest_vllmperf.history.sessions import of_baseline
from pytest_vllmperf.history.taking import of_run
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.storage import runs
from tests.history.conftest import Add
from tests.history.material import HARD, SOFT, TEST, checked, of_test, run_on, story, throughput, when
from tests.reporting import HOSTILE, hostile_run


def rows(database: Database, table: str) -> list[dict[str, Any]]:
    """What a table holds, read without our code."""
    connection = sqlite3.connect(str(database.file))
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute(f"select * from {table} order by 1")]
    connection.close()
    return found


def test_what_is_stored(database: Database, add_runs: Add) -> None:
    (added,) = add_runs([run_on(3, of_test(checked(3, throughput(100.0))))])
    assert (added.values, added.known) == (1, 0)
    (run,) = rows(database, "vllmperf_run")
    assert (run["started"], run["commit_hash"], run["dirty"], run["complete"]) == (when(3), f"{3:040x}", 0, 1)
    assert (run["source"], run["vllm"], run["plugin"], run["outcome"]) == ("run", "0.32.0", "0.1.0", "passed")
    (series,) = rows(database, "vllmperf_series")
    assert (series["test"], series["check_name"], series["profile"]) == (TEST, "", "h200")
    assert (series["metric"], series["unit"], series["better"]) == ("output_throughput", "tok/s", "higher")
    (point,) = rows(database, "vllmperf_point")
    assert (point["value"], point["engines"], point["gated"]) == (100.0, "[100.0, 100.1, 99.9]", 1)
    assert (point["check_status"], point["left_out"]) == ("OK", "")
    (environment,) = rows(database, "vllmperf_environment")
    assert '"driver":"580.95"' in environment["soft"]


def test_the_same_run_again_adds_nothing(database: Database, add_runs: Add, tmp_path: Path) -> None:
    runs.write(tmp_path / "run.json", story([100.0])[0])
    add_runs([runs.load(tmp_path / "run.json")])
    before = database.file.read_bytes() if database.file else b""
    (again,) = add_runs([runs.load(tmp_path / "run.json")])
    assert again.values is None
    assert database.file is not None
    assert database.file.read_bytes() == before


def test_the_same_run_twice_in_one_call(database: Database, add_runs: Add) -> None:
    assert [one.values for one in add_runs(story([100.0]) * 2)] == [1, None]
    assert len(rows(database, "vllmperf_point")) == 1


def test_two_runs_in_the_same_second_are_two(add_runs: Add) -> None:
    one = run_on(1, of_test(checked(1, throughput(100.0))))
    other = run_on(1, of_test(checked(1, throughput(90.0))))
    assert [added.values for added in add_runs([one, other])] == [1, 1]


def test_nothing_is_kept_where_one_fails(database: Database, add_runs: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add_runs(story([100.0]))
    real = adding._add

    def fails_at_the_third(connection: Any, taken: Any) -> Any:
        if taken.run["started"] == when(3):
            raise RuntimeError("power cut")
        return real(connection, taken)

    monkeypatch.setattr(adding, "_add", fails_at_the_third)
    with pytest.raises(RuntimeError, match="power cut"):
        add_runs(story([100.0] * 4))
    assert len(rows(database, "vllmperf_run")) == 1
    assert len(rows(database, "vllmperf_point")) == 1


ADDS = """
import sys
from pytest_vllmperf import cli
print("ready", flush=True)
sys.stdin.readline()
sys.exit(cli.main(["history", "add", "--database", sys.argv[1], "--timeout", "60", *sys.argv[2:]]))
"""


def test_several_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path, reports = tmp_path / "history.db", story([float(value) for value in range(1, 41)])
    for day, report in enumerate(reports):
        runs.write(tmp_path / f"{day}.json", report)
    shares = [[str(tmp_path / f"{day}.json") for day in range(first, 40, 2)] for first in (0, 1, 0)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ADDS, str(path), *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for files in shares
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    told = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 3, told
    history = read(Database(str(path)))
    assert len(history.runs) == 40  # the first and the last child have the same ones
    (series,) = history.series
    assert len(series.values) == 40


def session(day: float, value: float) -> Session:
    """A stored session of one engine start."""
    return Session(
        recorded=when(day),
        environment=Environment(hard=HARD, soft=SOFT),
        engines=[EngineSamples(discarded=2, iterations=1, samples={"output_throughput": [value]})],
    )


def entry(*sessions: Session) -> Entry:
    judging = Judging(gate=["output_throughput"], margin=0.05)
    return Entry(engine="m", workload={"count": 4}, judging=judging, sessions=list(sessions))


def test_sessions_of_a_baseline_file(database: Database) -> None:
    taken = of_baseline("tests/test_chat.py", {"test_chat": entry(session(1, 100.0), session(2, 101.0))})
    assert [one.values for one in add(database, taken)] == [1, 1]
    assert [one.values for one in add(database, taken)] == [None, None]
    (series,) = read(database).series
    assert (series.id.test, series.id.profile, series.metric.gated) == (TEST, "nvidia-h200", True)
    assert [value.value for value in series.values] == [100.0, 101.0]


def test_metrics_of_tests_in_a_baseline_file(database: Database) -> None:
    key = "accepted [tokens, higher]"
    engine = EngineSamples(discarded=2, iterations=1, samples={key: [3.0], "of a newer release": [1.0]})
    stored = session(1, 1.0).model_copy(update={"engines": [engine]})
    add(database, of_baseline("tests/test_chat.py", {"test_chat": entry(stored)}))
    (series,) = read(database).series
    assert (series.id.metric, series.metric.label, series.metric.unit) == (key, "accepted", "tokens")


@pytest.mark.parametrize("first", ["run", "baseline"])
def test_a_session_that_both_files_have_counts_once(database: Database, first: str) -> None:
    told = run_on(1, of_test(checked(1, throughput(100.0), profile="nvidia-h200")))
    metric = told.tests[0].checks[0].metrics["output_throughput"]
    stored = entry(session(1, 100.0)).sessions[0].engines[0]
    both = [stored.model_copy(update={"samples": {"output_throughput": list(values)}}) for values in metric.samples]
    files = {
        "run": [of_run(told)],
        "baseline": of_baseline(
            "tests/test_chat.py",
            {"test_chat": entry(session(1, 100.0).model_copy(update={"engines": both}), session(2, 101.0))},
        ),
    }
    second = "baseline" if first == "run" else "run"
    add(database, files[first])
    done = add(database, files[second])
    assert [one.known for one in done] == ([1, 0] if second == "baseline" else [0])
    (series,) = read(database).series
    assert [value.value for value in series.values] == [100.0, 101.0]
    assert [value.run.commit for value in series.values] == [f"{1:040x}", None]  # the run knows its commit
    assert len(read(database).runs) == 2


def test_hostile_names_come_back_as_they_were(database: Database, add_runs: Add) -> None:
    add_runs([hostile_run()])
    names = {(series.id.test, series.id.check) for series in read(database).series}
    assert names == {(f"test_a.py::test[{name}]", f"{name} {which}") for name in HOSTILE for which in (1, 2)}


def test_what_no_database_takes_is_escaped(database: Database, add_runs: Add) -> None:
    nodeid = "test_a.py::test[\x00\udc80]"
    add_runs([run_on(1, of_test(checked(1, throughput(1.0), name="\x00"), nodeid=nodeid))])
    (series,) = read(database).series
    assert (series.id.test, series.id.check) == ("test_a.py::test[\\x00\\udc80]", "\\x00")
