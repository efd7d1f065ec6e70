"""In a job of GitHub Actions: the report in the job's summary, and annotations on the lines of tests."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def summary(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the step's summary of a job, in whose repository the project is a folder."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.root.parent))
    file = project.root.parent / f"{project.root.name}-summary.md"
    file.write_text("from another command\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    return file


def commands(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.lstrip().startswith("::")]


def slowed(project: Project) -> None:
    """A project whose second test has become slower."""
    project.perf_tests("test_fine")
    project.perf_tests("test_slow", module="test_b.py")
    project.record()
    project.perf_tests("test_slow", module="test_b.py", step_seconds=0.02)


def test_a_regression(project: Project, summary: Path, workers: list[str]) -> None:
    slowed(project)
    before = summary.read_text(encoding="utf-8")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, failed=1)
    (command,) = commands(result)
    line = (project.root / "test_b.py").read_text(encoding="utf-8").split("\n").index(
        '@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.02)') + 1  # fmt: skip
    where = f"file={project.root.name}/test_b.py,line={line},title=REGRESSED%3A test_b.py%3A%3Atest_slow"
    assert command.startswith(f"::error {where}::REGRESSED output throughput -")
    added = summary.read_text(encoding="utf-8").removeprefix(before)
    assert added.count("## vllmperf: ") == 1
    assert "## vllmperf: FAILED: 1 of 2 performance tests failed: 1 REGRESSED" in added


def test_a_green_run_has_a_summary_and_no_annotation(project: Project, summary: Path) -> None:
    project.perf_tests()
    project.record()
    result = project.run("--vllmperf")
    assert commands(result) == []
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("from another command\n")
    assert "## vllmperf: RECORDED: 1 check;" in text
    assert "## vllmperf: PASSED: 1 check: 1 OK" in text


@pytest.mark.parametrize("how", ["flag", "ini"])
def test_turned_off(project: Project, summary: Path, how: str) -> None:
    slowed(project)
    before = summary.read_text(encoding="utf-8")
    if how == "ini":
        project.ini("vllmperf_github = off")
    result = project.run("--vllmperf", *(["--vllmperf-github=off"] if how == "flag" else []))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert commands(result) == []
    assert summary.read_text(encoding="utf-8") == before


def test_not_in_a_job(project: Project, summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    before = summary.read_text(encoding="utf-8")
    slowed(project)
    assert commands(project.run("--vllmperf")) == []
    assert summary.read_text(encoding="utf-8") == before


def test_without_a_summary_there_are_annotations(
    project: Project, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    slowed(project)
    result = project.run("--vllmperf")
    assert len(commands(result)) == 1
    result.stdout.no_fnmatch_line("WARNING: *")


@pytest.mark.parametrize("args", [[], ["--vllmperf", "--collect-only"]], ids=["unarmed", "collect-only"])
def test_a_run_that_measures_nothing_by_design_says_nothing(project: Project, summary: Path, args: list[str]) -> None:
    project.perf_tests()
    before = summary.read_text(encoding="utf-8")
    assert commands(project.run(*args)) == []
    assert summary.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("kind", ["folder", "pipe", "no folder", "full"])
def test_a_summary_that_cannot_be_written(
    project: Project, summary: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    project.perf_tests()
    project.record()
    summary.unlink()
    if kind == "folder":
        summary.mkdir()
    elif kind == "pipe":
        os.mkfifo(summary)
    elif kind == "full":
        summary.write_bytes(b"x" * (1024 * 1024 - 100))
    else:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary / "missing" / "file"))
    result = project.run("--vllmperf")
    assert result.ret == 0
    assert sum("WARNING: GITHUB_STEP_SUMMARY: " in line for line in result.outlines) == 1


def test_a_test_outside_the_repository_has_no_place(
    project: Project, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.root / "elsewhere"))
    slowed(project)
    (command,) = commands(project.run("--vllmperf"))
    assert command.startswith("::error title=REGRESSED")


def test_all_skipped(project: Project, summary: Path) -> None:
    project.perf_tests(marks=("@pytest.mark.skip(reason='no GPU here')",))
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (command,) = commands(result)
    assert command.startswith("::error title=vllmperf%3A NOTHING JUDGED::NOTHING JUDGED: the only performance test")
    text = summary.read_text(encoding="utf-8")
    assert "## vllmperf: NOTHING JUDGED: the only performance test was skipped" in text
    assert "no GPU here" in text


def test_no_test_at_all(project: Project, summary: Path) -> None:
    project.write("test_none.py", "")
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "## vllmperf: NOTHING JUDGED: no performance test was selected" in summary.read_text(encoding="utf-8")
    assert len(commands(result)) == 1


def test_without_a_baseline(project: Project, summary: Path) -> None:
    project.perf_tests()
    result = project.run("--vllmperf")
    (command,) = commands(result)
    assert re.search(r"^::error file=.*,line=\d+,title=NO_BASELINE%3A .*::NO_BASELINE", command)
    assert "1 check compared with nothing" in summary.read_text(encoding="utf-8")


def test_a_module_that_cannot_be_collected(project: Project, summary: Path) -> None:
    project.perf_tests()
    project.record()
    project.write("test_broken.py", "import no_such_module\n")
    result = project.run("--vllmperf", "--continue-on-collection-errors")
    assert "## vllmperf: INCOMPLETE: 1 module could not be collected\n" in summary.read_text(encoding="utf-8")
    assert any("INCOMPLETE" in command for command in commands(result))


def test_names_cannot_be_commands(project: Project, summary: Path) -> None:
    evil = r"x\n::error::forged\n<img src=x> @everyone"
    project.perf_tests(check=f"vllmperf.check(run, name='{evil}')")
    result = project.run("--vllmperf")
    (command,) = commands(result)
    assert "NO_BASELINE" in command
    text = summary.read_text(encoding="utf-8")
    assert "\n::error" not in text


def test_no_secret_is_told(project: Project, summary: Path) -> None:
    project.perf_tests(check="raise AssertionError('it is hunter2-hunter2')", env={"MY_TOKEN": "hunter2-hunter2"})
    result = project.run("--vllmperf")
    (command,) = commands(result)
    text = summary.read_text(encoding="utf-8")
    assert "it is ***" in command
    assert "it is ***" in text
    assert "hunter2-hunter2" not in result.stdout.str() + text


def test_a_value_that_is_not_valid(project: Project, summary: Path) -> None:
    result = project.run("--vllmperf", "--vllmperf-github=yes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --vllmperf-github: 'yes' is not *"])
