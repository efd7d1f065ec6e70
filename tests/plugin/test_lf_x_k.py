from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def slower(project: Project) -> Project:
    """Three tests, the second and third of which regress."""
    project.perf_tests("test_a", "test_b", "test_c")
    project.record()
    body = (project.root / "test_chat.py").read_text()
    first, rest = body.split("def test_a")
    project.write("test_chat.py", first + "def test_a" + rest.replace("step_seconds=0.01", "step_seconds=0.02"))
    return project


def test_x_stops_at_the_first_regression(slower: Project) -> None:
    result = slower.run("--vllmperf", "-x")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


def test_maxfail(slower: Project) -> None:
    slower.run("--vllmperf", "--maxfail=2").assert_outcomes(passed=1, failed=2)
    slower.run("--vllmperf", "--maxfail=1").assert_outcomes(passed=1, failed=1)


def test_x_under_xdist(slower: Project) -> None:
    result = slower.run("--vllmperf", "-x", "-n", "2")
    assert result.ret != pytest.ExitCode.OK
    assert result.parseoutcomes()["failed"] >= 1
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


def test_last_failed_runs_what_regressed(slower: Project) -> None:
    slower.run("--vllmperf").assert_outcomes(passed=1, failed=2)
    result = slower.run("--vllmperf", "--lf", "-v")
    result.assert_outcomes(failed=2)
    result.stdout.no_fnmatch_line("*test_a *")


def test_last_failed_runs_what_has_no_baseline(project: Project) -> None:
    project.perf_tests("test_a", "test_b")
    project.record("-k", "test_a")
    project.run("--vllmperf")
    result = project.run("--vllmperf-update-new", "--lf")
    result.assert_outcomes(passed=1)
    assert sorted(project.stored()) == ["test_a", "test_b"]


def test_k_runs_and_shows_what_it_names(slower: Project) -> None:
    result = slower.run("--vllmperf", "-k", "test_a")
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(["test_a  OK*"])
    result.stdout.no_fnmatch_line("test_b*")


def test_m_selects_performance_tests(slower: Project) -> None:
    slower.write("test_plain.py", "def test_plain(): pass\n")
    slower.run("--vllmperf", "-m", "vllm").assert_outcomes(passed=1, failed=2, deselected=1)
    slower.run("--vllmperf", "-m", "not vllm").assert_outcomes(passed=1, deselected=3)


def test_an_update_that_stopped_keeps_what_passed(slower: Project) -> None:
    before = slower.stored()
    body = (slower.root / "test_chat.py").read_text()
    slower.write("test_chat.py", body.replace("def test_b(vllmperf):", "def test_b(vllmperf):\n    assert False"))
    slower.run("--vllmperf-update", "-x").assert_outcomes(passed=1, failed=1)
    after = slower.stored()
    assert (after["test_b"], after["test_c"]) == (before["test_b"], before["test_c"])
