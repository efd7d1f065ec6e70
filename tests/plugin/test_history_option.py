"""`--vllmperf-history`: the reports of a run show the trends of its checks; whatever goes wrong is one warning."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.history import opening

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BOTH = ("--vllmperf-report=report.html", "--vllmperf-report=report.md", "--vllmperf-json=run.json")
UNREADABLE = "the history could not be read, so nothing is known of changes over time"
PASSWORD = "hush-hush-0815"


@pytest.fixture(autouse=True)
def _no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLMPERF_HISTORY", raising=False)


def kept(project: Project, file: str = "history.db") -> None:
    """A test with a baseline, whose first run is in a history, as one of long ago.

    Two runs of the simulated engine within one second may have the same values, and then are taken for one.
    """
    project.perf_tests()
    project.record("--vllmperf-json=first.json")
    first = json.loads((project.root / "first.json").read_text(encoding="utf-8"))
    for test in first["tests"]:
        for check in test["checks"]:
            check["measured"] = "2026-01-01T00:00:00+00:00"
    project.write("first.json", json.dumps(first))
    assert cli.main(["history", "add", str(project.root / "first.json"), "--database", str(project.root / file)]) == 0


def texts(project: Project) -> tuple[str, str]:
    """The page and the document."""
    page, document = ((project.root / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    return page, document


def warnings(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("WARNING: ")]


def test_both_reports_have_the_trends(project: Project, workers: list[str]) -> None:
    kept(project)
    before = (project.root / "history.db").read_bytes()
    result = project.run("--vllmperf", "--vllmperf-history=history.db", *BOTH, *workers)
    result.assert_outcomes(passed=1)
    assert warnings(result) == []
    page, document = texts(project)
    assert '<h2 id="trends">Trends</h2>' in page
    assert "2 runs; level" in page  # the one in the history, and this one
    assert "Trends: no change found in" in document
    assert "of 2 runs" in document
    assert (project.root / "history.db").read_bytes() == before


def test_only_where_somebody_asks(project: Project) -> None:
    kept(project, "vllmperf-history.db")
    project.run("--vllmperf", *BOTH)
    page, document = texts(project)
    assert 'id="trends"' not in page
    assert "Trends" not in document
    project.ini("vllmperf_history = auto")
    project.run("--vllmperf", *BOTH)
    assert all("Trends: no change found in" in text for text in texts(project))


def test_auto_is_what_the_environment_names(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(project, "elsewhere.db")
    monkeypatch.setenv("VLLMPERF_HISTORY", f"sqlite:///{project.root / 'elsewhere.db'}")
    project.run("--vllmperf", "--vllmperf-history=auto", *BOTH)
    assert all("Trends: no change found in" in text for text in texts(project))


def missing(file: Path) -> str:
    return "there is no such history"


def foreign(file: Path) -> str:
    sqlite3.connect(file).execute("create table mine (x)").connection.commit()
    return "is a database of another program"


def damaged(file: Path) -> str:
    file.write_text("no database" * 100)
    return "is not a database of SQLite, or is damaged"


@pytest.mark.parametrize("broken", [missing, foreign, damaged])
def test_a_history_that_cannot_be_read_is_one_warning(project: Project, broken: object, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    said = broken(project.root / "history.db")  # type: ignore[operator]
    result = project.run("--vllmperf", "--vllmperf-history=history.db", *BOTH, *workers)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    (warning,) = warnings(result)
    assert warning.startswith("WARNING: --vllmperf-history: ")
    assert said in warning
    page, document = texts(project)
    assert f"Trends: {UNREADABLE}" in page
    assert f"**Trends: {UNREADABLE}.**" in document
    assert "no change found" not in page + document


def test_a_locked_history_is_one_warning(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(project)
    monkeypatch.setattr(opening, "opened", partial(opening.opened, timeout=0.1))
    with closing(sqlite3.connect(project.root / "history.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        result = project.run("--vllmperf", "--vllmperf-history=history.db", *BOTH)
    assert result.ret == 0
    (warning,) = warnings(result)
    assert "another process has kept it locked for 0.1 s" in warning
    assert all(UNREADABLE in text for text in texts(project))


def test_a_failed_run_stays_failed(project: Project) -> None:
    kept(project)
    project.perf_tests(step_seconds=0.02)
    result = project.run("--vllmperf", "--vllmperf-gate=clock", "--vllmperf-history=none.db", *BOTH)
    result.assert_outcomes(failed=1)
    assert len(warnings(result)) == 1
    project.run("--vllmperf", "--vllmperf-gate=clock", "--vllmperf-history=history.db", *BOTH)
    page, document = texts(project)
    assert "NOT COMPARED" not in page + document
    assert "too few to find a change in noise" in page


@pytest.mark.parametrize("url", [f"postgresql://me:{PASSWORD}@127.0.0.1:1/x", f"sqlite:///none.db?password={PASSWORD}"])
def test_a_password_is_nowhere(project: Project, url: str, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    result = project.run("--vllmperf", f"--vllmperf-history={url}", *BOTH, *workers)
    assert result.ret == 0
    assert len(warnings(result)) == 1
    told = [*texts(project), (project.root / "run.json").read_text(encoding="utf-8"), *result.outlines]
    assert not any(PASSWORD in text for text in told)
    assert json.loads(told[2])["run"]["options"]["history"] == "set"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--vllmperf-history=history.db",), "--vllmperf-history adds trends to a report; add --vllmperf-report=FILE"),
        ((f"--vllmperf-history=postgresql+x://a:{PASSWORD}@h:port/x", *BOTH), "the URL of the database is not valid"),
        (("--vllmperf-history=folder", *BOTH), "--vllmperf-history: folder: is a folder; name a file"),
        (("--vllmperf-history=", *BOTH), "--vllmperf-history is empty; name a database, or write 'off'"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(project: Project, arguments: tuple[str, ...], said: str) -> None:
    project.perf_tests()
    (project.root / "folder").mkdir()
    result = project.run("--vllmperf", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{said}*"])
    assert PASSWORD not in "\n".join(result.errlines)


def test_without_sqlalchemy_it_is_refused_at_the_start(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.perf_tests()
    project.write("conftest.py", "import sys\nsys.modules['sqlalchemy'] = None\n")
    result = project.run_apart("--vllmperf", "--vllmperf-history=history.db", *BOTH)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *a history needs SQLAlchemy; install it: pip install 'pytest-vllmperf*"])


def test_the_summary_of_a_job_has_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(project)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.root / "summary.md"))
    (project.root / "summary.md").touch()
    project.ini("vllmperf_history = history.db")
    project.run("--vllmperf")
    assert "Trends: no change found in" in (project.root / "summary.md").read_text(encoding="utf-8")
