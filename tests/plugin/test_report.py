"""`--vllmperf-report`: a report of the run for people, in the form that the file's suffix says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BOTH = ("--vllmperf-report=out/report.html", "--vllmperf-report=out/report.md")


def recorded(project: Project) -> None:
    """One test with a baseline."""
    project.perf_tests()
    project.record()


def test_both_reports(project: Project, workers: list[str]) -> None:
    recorded(project)
    result = project.run("--vllmperf", *BOTH, *workers)
    result.assert_outcomes(passed=1)
    for name in ("report.html", "report.md"):
        text = (project.root / "out" / name).read_text(encoding="utf-8")
        assert "test_chat.py::test_chat" in text.replace("\\", "")
        result.stdout.fnmatch_lines([f"vllmperf: a report is written to out/{name}"])


@pytest.mark.parametrize("name", ["report.pdf", "report", "html"])
def test_an_unknown_suffix_is_refused_at_the_start(project: Project, name: str) -> None:
    recorded(project)
    result = project.run("--vllmperf", f"--vllmperf-report={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --vllmperf-report: '{name}' is not a report's name; it has to end in .html or .md"]
    )


def test_a_file_that_is_not_a_report_stays(project: Project) -> None:
    recorded(project)
    (project.root / "page.html").write_text("<html>my own</html>", encoding="utf-8")
    result = project.run("--vllmperf", "--vllmperf-report=page.html")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["WARNING: --vllmperf-report: *page.html: not replaced, as it is not a report of *"])
    assert (project.root / "page.html").read_text(encoding="utf-8") == "<html>my own</html>"


def test_a_file_that_cannot_be_written_changes_no_outcome(project: Project) -> None:
    recorded(project)
    (project.root / "folder.html").mkdir()
    result = project.run("--vllmperf", "--vllmperf-report=folder.html")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["WARNING: --vllmperf-report: *folder.html*"])


def test_the_report_of_an_earlier_run_is_removed(project: Project) -> None:
    recorded(project)
    project.run("--vllmperf", *BOTH)
    project.run("--vllmperf", *BOTH, "--collect-only")
    assert (project.root / "out" / "report.md").exists()
    project.write("conftest.py", "import os, pytest\n@pytest.fixture(autouse=True)\ndef dies():\n    os._exit(3)\n")
    project.run_apart("--vllmperf", *BOTH)
    assert not (project.root / "out" / "report.md").exists()


def test_without_an_armed_run_it_is_refused(project: Project) -> None:
    recorded(project)
    result = project.run(*BOTH)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --vllmperf-report writes what performance tests come to, and none runs*"])


def test_reports_named_in_the_configuration(project: Project) -> None:
    recorded(project)
    project.ini("vllmperf_report = a.md b.html")
    project.run("--vllmperf")
    assert (project.root / "a.md").exists()
    assert (project.root / "b.html").exists()


def test_a_page_without_plotly_is_refused_at_the_start(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(project)
    monkeypatch.setattr("pytest_vllmperf.report.pages.library.find_spec", lambda name: None)
    result = project.run("--vllmperf", "--vllmperf-report=report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --vllmperf-report: a report as a page needs Plotly: pip install 'pytest-vllmperf[[]report[]]'"]
    )
    project.run("--vllmperf", "--vllmperf-report=report.md").assert_outcomes(passed=1)


def test_a_page_imports_neither_plotly_nor_a_data_frame(project: Project) -> None:
    recorded(project)
    project.write(
        "conftest.py",
        "import sys\ndef pytest_unconfigure():\n"
        "    print('imported:', 'plotly' in sys.modules, 'pandas' in sys.modules)\n",
    )
    result = project.run_apart("--vllmperf", "--vllmperf-report=report.html")
    result.stdout.fnmatch_lines(["imported: False False"])


def test_a_regression_stands_on_the_page(project: Project, workers: list[str]) -> None:
    recorded(project)
    project.perf_tests(step_seconds=0.02)
    result = project.run("--vllmperf", "--vllmperf-gate=clock", "--vllmperf-report=report.html", *workers)
    result.assert_outcomes(failed=1)
    text = (project.root / "report.html").read_text(encoding="utf-8")
    assert '<span class="badge bad">REGRESSED</span>' in text
    assert "engine argument step_seconds: 0.01 -&gt; 0.02" in text


def test_a_usage_error_leaves_no_report_of_an_earlier_run(project: Project) -> None:
    recorded(project)
    files = [project.root / "out" / "report.html", project.root / "out" / "report.md", project.root / "run.json"]
    project.run("--vllmperf", *BOTH, "--vllmperf-json=run.json")
    assert all(file.exists() for file in files)
    (project.root / "out" / "report.html").write_text("my own", encoding="utf-8")
    result = project.run("--vllmperf", *BOTH, "--vllmperf-json=run.json", "--vllmperf-margin=wide")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [file.name for file in files if file.exists()] == ["report.html"]
