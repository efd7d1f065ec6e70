"""`vllmperf history runs` and `remove`, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.storage import runs
from tests.cli.conftest import Write, entry
from tests.history.material import checked, of_test, run_on, story, throughput, when
from tests.reporting import hostile_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A history of two commits in the current folder; of the second one files differed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VLLMPERF_HISTORY", raising=False)
    for day, commit in ((1, "1a2b3c4" + "0" * 33), (2, "5d6e7f8" + "0" * 33)):
        run = run_on(day, of_test(checked(day, throughput(float(day)))), commit=commit, dirty=day == 2)
        runs.write(tmp_path / f"{day}.json", run)
    assert history("add", "1.json", "2.json") == 0
    capsys.readouterr()


def history(*arguments: str) -> int:
    return cli.main(["history", *arguments])


def listed(capsys: Capture) -> list[dict[str, object]]:
    """The runs that the command lists for a program."""
    assert history("runs", "--json") == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("added")
def test_a_list_with_what_names_each_run(capsys: Capture) -> None:
    newest, oldest = listed(capsys)
    assert history("runs") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "started", "commit", "values"],
        [newest["id"], when(2), "5d6e7f8+changes", "1"],
        [oldest["id"], when(1), "1a2b3c4", "1"],
    ]
    assert (newest["dirty"], newest["values"], newest["session_of_baseline"]) == (True, 1, False)


@pytest.mark.usefixtures("added")
def test_it_says_what_it_removed(capsys: Capture) -> None:
    newest, oldest = listed(capsys)
    assert history("remove", "5d6e7f8+changes", "--dry-run") == 0
    told = f"{newest['id']}, the run of {when(2)}, commit 5d6e7f8+changes, with 1 value, {{}} vllmperf-history.db\n"
    assert capsys.readouterr().out == "would be removed: " + told.format("in")
    assert len(listed(capsys)) == 2
    assert history("remove", "5d6e7f8+changes") == 0
    assert capsys.readouterr().out == "removed: " + told.format("from")
    assert listed(capsys) == [oldest]
    assert history("remove", str(oldest["id"])) == 0
    capsys.readouterr()
    assert history("runs") == 0
    assert capsys.readouterr().out == "vllmperf-history.db: has no run\n"


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ddddddd"], "vllmperf: vllmperf-history.db: no run has the id or commit ddddddd; nothing was removed."),
        (["1a2b3c4", "x"], "vllmperf: 'x' is no id or commit of a run: give at least 7 of its digits (0-9, a-f)"),
        (["1a2b3c4", "--database", "gone.db"], "vllmperf: gone.db: there is no such history"),
        (["1a2b3c4", "--database", "1.json"], "vllmperf: 1.json: is not a database of SQLite, or is damaged"),
    ],
)
def test_one_line_where_nothing_was_removed(capsys: Capture, arguments: list[str], expected: str) -> None:
    for more in ([], ["--dry-run"]):
        assert history("remove", *arguments, *more) == 2
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        assert line.startswith(expected)
    assert len(listed(capsys)) == 2
    assert not Path("gone.db").exists()


@pytest.mark.usefixtures("added")
def test_sessions_of_a_baseline_are_told_apart(write: Write, capsys: Capture) -> None:
    write("baselines/nvidia-h200/test_a.json", test_x=entry(sessions=2))
    assert history("add", "baselines/nvidia-h200/test_a.json") == 0
    capsys.readouterr()
    sessions = [one for one in listed(capsys) if one["session_of_baseline"]]
    assert len(sessions) == 2
    assert history("runs") == 0
    assert capsys.readouterr().out.count("  session of a baseline\n") == 2
    assert history("remove", str(sessions[0]["id"])) == 0
    assert ", the session of a baseline of " in capsys.readouterr().out


@pytest.mark.usefixtures("added")
def test_names_of_a_stranger_are_harmless(tmp_path: Path, capsys: Capture) -> None:
    runs.write(tmp_path / "hostile.json", hostile_run())
    assert history("add", "hostile.json") == 0
    assert history("runs") == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert len(told.out.splitlines()) == 1 + 1 + 3  # of `add`, the head, and a line for each run


@pytest.mark.usefixtures("added")
def test_trends_are_those_of_the_runs_that_are_left(tmp_path: Path, capsys: Capture) -> None:
    values = [100.0 + day % 3 for day in range(16)] + [500.0]  # the last one of 17 runs
    for day, report in enumerate(story(values)):
        commit = f"{day:02x}" * 20
        report = report.model_copy(update={"run": report.run.model_copy(update={"commit": commit})})
        runs.write(tmp_path / f"day{day}.json", report)
    assert history("add", "--database", "days.db", *(f"day{day}.json" for day in range(len(values)))) == 0
    capsys.readouterr()
    assert history("show", "--database", "days.db") == 0
    assert "1 change in 1 metric of 17 runs" in capsys.readouterr().out
    assert history("remove", "--database", "days.db", "1010101") == 0
    capsys.readouterr()
    assert history("show", "--database", "days.db") == 0
    assert "no change found in 1 metric of 16 runs" in capsys.readouterr().out
