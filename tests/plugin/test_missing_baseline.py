from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _command(result: pytest.RunResult) -> list[str]:
    """The arguments of the one command that a failing run printed."""
    (line,) = [line for line in result.outlines if line.startswith("    pytest ")]
    return shlex.split(line)[1:]


def test_fails_and_the_printed_command_records(project: Project) -> None:
    project.perf_tests("test_a", "test_b")
    project.record("-k", "test_a")
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["NO_BASELINE  test_b: nothing is recorded for simulated. Record it with:"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line(">  *")
    before = project.stored()["test_a"]
    assert _command(result) == ["--vllmperf-update-new", "test_chat.py::test_b"]
    project.run(*_command(result)).assert_outcomes(passed=1)
    assert sorted(project.stored()) == ["test_a", "test_b"]
    assert project.stored()["test_a"] == before
    project.run("--vllmperf").assert_outcomes(passed=2)


def test_started_in_a_subfolder(project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    project.perf_tests(module="sub/test_chat.py")
    monkeypatch.chdir(project.root / "sub")
    result = project.run("--vllmperf", *workers)
    assert _command(result) == ["--vllmperf-update-new", "test_chat.py::test_chat"]
    project.run(*_command(result)).assert_outcomes(passed=1)
    assert list(project.stored("sub/test_chat")) == ["test_chat"]


def test_started_beside_the_tests(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.perf_tests(module="sub/test_chat.py")
    (project.root / "other").mkdir()
    monkeypatch.chdir(project.root / "other")
    result = project.run("--vllmperf", "../sub")
    project.run(*_command(result)).assert_outcomes(passed=1)
    assert list(project.stored("sub/test_chat")) == ["test_chat"]


def test_a_test_that_changes_the_working_folder(project: Project) -> None:
    (project.root / "other").mkdir()
    project.module("""
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_chat(vllmperf, monkeypatch):
    monkeypatch.chdir("other")
    vllmperf.check(vllmperf.measure(WORK))
""")
    result = project.run("--vllmperf")
    project.run(*_command(result)).assert_outcomes(passed=1)


def test_a_name_with_spaces_and_quotes(project: Project) -> None:
    project.module("""
@pytest.mark.parametrize("text", ["two words", "it's $HOME"])
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_text(vllmperf, text):
    vllmperf.check(vllmperf.measure(WORK))
""")
    for text in ("two", "HOME"):
        result = project.run("--vllmperf", "-k", text)
        project.run(*_command(result)).assert_outcomes(passed=1)
    assert len(project.stored()) == 2


def test_the_command_records_where_the_run_looked(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", "--vllmperf-baselines", "else where")
    project.run(*_command(result)).assert_outcomes(passed=1)
    assert (project.root / "else where/simulated/test_chat.json").is_file()
    project.run("--vllmperf", "--vllmperf-baselines", "else where").assert_outcomes(passed=1)


def test_a_test_of_another_name_has_none(project: Project) -> None:
    project.perf_tests("test_old")
    project.record()
    project.perf_tests("test_new")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NO_BASELINE  test_new: *", "test_new  NO_BASELINE*"])
