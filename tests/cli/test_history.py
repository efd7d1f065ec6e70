"""`vllmperf history`: add, show, plot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.report.pages.history_page import MARK
from pytest_vllmperf.storage import runs
from tests.cli.conftest import Write, entry
from tests.cli.test_pipe import COMMAND, into_a_pipe_that_nobody_reads
from tests.history.material import SOFT, TEST, checked, of_test, run_on, story, throughput
from tests.reporting import hostile_run

Capture = pytest.CaptureFixture[str]
VALUES = [1000.0 + day % 3 for day in range(12)] + [930.0 + day % 3 for day in range(6)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of runs, in the current folder; the test gets slower with another vLLM."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("VLLMPERF_HISTORY", raising=False)
    for day, report in enumerate(story(VALUES, change_at=12, soft={**SOFT, "version of vllm": "0.33.0"})):
        runs.write(tmp_path / f"run{day:02}.json", report)
    return sorted(path.name for path in tmp_path.glob("run*.json"))


def history(*arguments: str) -> int:
    return cli.main(["history", *arguments])


@pytest.fixture
def added(files: list[str], capsys: Capture) -> list[str]:
    """The same, in a history."""
    assert history("add", *files) == 0
    capsys.readouterr()
    return files


def failed(capsys: Capture, *arguments: str) -> str:
    """The one line that a command fails with."""
    assert history(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    return line


def test_from_files_to_a_cause(files: list[str], capsys: Capture) -> None:
    assert history("add", *files) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "run00.json: the run of 2026-01-01T00:00:00+00:00: 1 value added to vllmperf-history.db"
    assert len(told) == len(VALUES)
    assert history("show") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 change in 1 metric of 18 runs: 1 for the worse, 0 for the better",
        "",
        "2026-01-13 00:00  since vLLM 0.32.0 -> 0.33.0, driver 580.95 unchanged; commits 0000000..0000000",
        "  WORSE  test_chat  output throughput  -7.0 %  1,001 -> 931 tok/s  ████████▁▁▁▁",
    ]


def test_the_same_run_again(added: list[str], capsys: Capture) -> None:
    assert history("add", added[0], added[1]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"run{day:02}.json: the run of 2026-01-{day + 1:02}T00:00:00+00:00: already in vllmperf-history.db; "
        "nothing was added"
        for day in (0, 1)
    ]


def test_what_is_missing_is_told_when_a_run_is_added(files: list[str], tmp_path: Path, capsys: Capture) -> None:
    broken = of_test(outcome="error", nodeid="a.py::test_b")
    runs.write(tmp_path / "x.json", run_on(30, of_test(checked(30, throughput(1.0))), broken, complete=False))
    assert history("add", "x.json") == 0
    assert capsys.readouterr().err.splitlines() == [
        "note: x.json: the run is not complete: tests may be missing",
        "note: x.json: without a measurement: a.py::test_b",
    ]


def test_a_program_gets_the_same(added: list[str], capsys: Capture) -> None:
    assert history("show", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (change,) = found["changes"]
    assert (change["test"], change["metric"], change["worse"]) == (TEST, "output_throughput", True)
    assert change["change"] == pytest.approx(-0.07, abs=0.001)
    assert change["environment_changed"] == ["vLLM 0.32.0 -> 0.33.0"]
    assert (change["last_before"]["commit"], change["first_after"]["commit"]) == (f"{11:040x}", f"{12:040x}")
    (series,) = found["series"]
    assert [value["value"] for value in series["values"]] == VALUES
    assert len(series["levels"]) == 2


def test_a_page(added: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert history("plot", "--output", "out/page.html") == 0
    assert capsys.readouterr().out == (
        "out/page.html: 1 change in 1 metric of 18 runs: 1 for the worse, 0 for the better\n"
    )
    text = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert text.startswith(MARK)
    assert "vLLM 0.32.0 -&gt; 0.33.0" in text
    assert history("plot", "--output", "out/page.html") == 0  # its own page is replaced


def test_nothing_but_such_a_page_is_replaced(added: list[str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.html").write_text("<p>mine")
    assert "mine.html: not replaced" in failed(capsys, "plot", "--output", "mine.html")
    assert (tmp_path / "mine.html").read_text() == "<p>mine"
    assert "its name has to end in .html" in failed(capsys, "plot", "--output", "run00.json")


def test_where_a_page_cannot_be_written(added: list[str], capsys: Capture) -> None:
    assert "vllmperf: " in failed(capsys, "plot", "--output", "/proc/x/page.html")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--min-change", "much"], "--min-change: 'much' is not a"),
        (["--min-change", "3"], "--min-change: 3 is 300 %"),
        (["--p-value", "0"], "--p-value 0: has to lie between 0 and 1"),
        (["--window", "5"], "--window 5: has to be at least 10"),
        (["--metrics", "speed"], "--metrics: no metric or set is called 'speed'"),
        (["--metrics", " "], "--metrics: names no metric"),
        (["--test", "nothing"], "the history has no value of what was asked for"),
        (["--database", "other.db"], "other.db: there is no such history; make it with: vllmperf history add RUN.json"),
    ],
)
def test_arguments_that_are_not_valid(added: list[str], capsys: Capture, arguments: list[str], expected: str) -> None:
    for action in ("show", "plot"):
        assert expected in failed(capsys, action, *arguments)


def test_one_bad_file_and_nothing_is_added(files: list[str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.json").write_text("{]")
    (tmp_path / "when.json").write_text((tmp_path / files[1]).read_text().replace("2026-01-02T", "yesterday"))
    for bad, expected in (
        ("text.json", "text.json"),
        ("gone.json", "gone.json: there is no such file"),
        ("when.json", "when.json: a time in it is no ISO date and time"),
    ):
        assert expected in failed(capsys, "add", files[0], bad)
    assert not (tmp_path / "vllmperf-history.db").exists()


def test_a_database_named_by_the_environment(
    added: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("VLLMPERF_HISTORY", "sqlite:///there.db")
    assert "there.db: there is no such history" in failed(capsys, "show")
    assert history("add", added[0]) == 0
    assert (tmp_path / "there.db").exists()
    assert history("show", "--database", "vllmperf-history.db") == 0


def test_sessions_of_a_baseline_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write("baselines/nvidia-h200/tests/test_a.json", **{"test_x # own": entry(sessions=6)})
    assert history("add", "baselines/nvidia-h200/tests/test_a.json") == 0
    assert capsys.readouterr().out == (
        "baselines/nvidia-h200/tests/test_a.json: 6 sessions: 6 with 30 values added to vllmperf-history.db\n"
    )
    assert history("show", "--json") == 0
    series = json.loads(capsys.readouterr().out)["series"]
    assert {(one["test"], one["check"], one["profile"]) for one in series} == {
        ("tests/test_a.py::test_x", "own", "nvidia-h200")
    }
    assert history("add", "baselines/nvidia-h200/tests/test_a.json") == 0
    assert "already in vllmperf-history.db; nothing was added" in capsys.readouterr().out


def test_hostile_names_are_harmless(files: list[str], tmp_path: Path, capsys: Capture) -> None:
    runs.write(tmp_path / "hostile.json", hostile_run())
    assert history("add", "hostile.json") == 0
    assert history("show", "--all") == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert not any(line.lstrip().startswith("::") for line in told.out.splitlines())
    assert history("plot") == 0
    page = (tmp_path / "vllmperf-history.html").read_text(encoding="utf-8")
    assert "<b>markup" not in page
    assert "&lt;b&gt;markup&lt;/b&gt;" in page


def test_a_reader_that_ends(added: list[str]) -> None:
    for more in ([], ["--all"], ["--json"]):
        done = into_a_pipe_that_nobody_reads("history", "show", *more)
        assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_without_the_signs(added: list[str]) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "history", "show"], env=env, capture_output=True, text=True, check=True)
    assert "1,001 -> 931 tok/s" in done.stdout
    assert "\\u25" not in done.stdout


WITHOUT = "import sys; sys.modules['sqlalchemy'] = None; from pytest_vllmperf import cli; sys.exit(cli.main())"


def test_without_sqlalchemy(added: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "history", "show"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("vllmperf: a history needs SQLAlchemy; install it: pip install 'pytest-vllmperf[history]'\n")


def test_help_imports_no_sqlalchemy() -> None:
    code = (
        "import sys; from pytest_vllmperf import cli\ntry: cli.main(['history', 'show', '--help'])\n"
        "except SystemExit: print('sqlalchemy' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False False\n")
