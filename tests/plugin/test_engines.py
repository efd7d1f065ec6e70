"""--vllmperf-engines and --vllmperf-max-engines: how many fresh engines a session and a verdict may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize("count", [3, 5])
def test_a_session_is_recorded_on_as_many(project: Project, count: int, starts: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.record(f"--vllmperf-engines={count}")
    assert project.sessions("test_a") == project.sessions("test_b") == [count]
    assert len(starts) == count, "all tests of an engine share each start"


def test_three_unless_told(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record(*workers)
    assert project.sessions() == [3]


def test_ini(project: Project) -> None:
    project.ini("vllmperf_engines = 4")
    project.perf_tests()
    project.record()
    assert project.sessions() == [4]
    project.record("--vllmperf-engines=3")
    assert project.sessions() == [3]


def test_the_first_start_of_a_run_is_the_cold_one(project: Project) -> None:
    project.perf_tests("test_a", "test_b", load_seconds=2.5)
    project.record()
    for test in ("test_a", "test_b"):
        (session,) = project.stored()[test]["sessions"]
        assert [engine["cold_start"] for engine in session["engines"]] == [True, False, False]
        assert [engine["once"].get("load_time.cold") for engine in session["engines"]] == [2.5, None, None]


@pytest.fixture
def unclear(project: Project) -> Project:
    """A baseline, and an engine that is slower by what one session cannot tell from noise."""
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.0106)
    return project


def _noisy(result: pytest.RunResult, engines: str) -> None:
    result.assert_outcomes(passed=1)
    text = " ".join(line.strip() for line in result.outlines)
    assert f"cannot be told from noise after {engines} " in f"{text} "


def test_a_verdict_ends_with_six(unclear: Project, starts: list[str]) -> None:
    _noisy(unclear.run("--vllmperf"), "6 engine starts")
    assert len(starts) == 6


def test_or_with_as_many_as_were_allowed(unclear: Project, starts: list[str], workers: list[str]) -> None:
    _noisy(unclear.run("--vllmperf", "--vllmperf-max-engines=4", *workers), "4 engine starts")
    unclear.ini("vllmperf_max_engines = 1")
    starts.clear()
    _noisy(unclear.run("--vllmperf"), "1 engine start")
    assert len(starts) == 1


def test_what_is_decided_takes_no_more(project: Project, starts: list[str]) -> None:
    project.perf_tests()
    project.record()
    starts.clear()
    project.perf_tests(step_seconds=0.03)
    project.run("--vllmperf").assert_outcomes(failed=1)
    assert len(starts) == 3
    starts.clear()
    project.perf_tests()
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert len(starts) == 1


def test_a_single_slow_start_is_no_regression(project: Project) -> None:
    project.perf_tests(starts=(1.0,))
    project.record()
    project.perf_tests(starts=(1.3, 1.0))
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_difference_of_counters_is_confirmed_on_a_second_engine(project: Project, starts: list[str]) -> None:
    marks = ["@pytest.mark.vllmperf(gate='exact')"]
    project.perf_tests(marks=marks)
    project.record()
    starts.clear()
    project.perf_tests(marks=marks, max_num_seqs=3)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED engine steps +100.0 %, exact · 5 -> 10 · 2 engine starts"])
    assert len(starts) == 2


@pytest.mark.parametrize("option", ["engines", "max-engines"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "few"])
def test_impossible_option(project: Project, option: str, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-{option}: '{value}' is not a whole number of at least 1"])
