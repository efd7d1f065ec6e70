"""A test that skips its rest: the checks that it made until then count, be they decided or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SKIPS = "vllmperf.check(run); pytest.skip('no FP8 here')"


@pytest.mark.parametrize("tests", [("test_chat",), ("test_chat", "test_other")], ids=["alone", "with a neighbour"])
def test_a_regression_fails_it(project: Project, workers: list[str], tests: tuple[str, ...]) -> None:
    """One engine start never decides a regression: it used to end as UNDECIDED, and green."""
    project.perf_tests(*tests)
    project.record()
    project.perf_tests(*tests, check=SKIPS, step_seconds=0.02)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=len(tests))
    result.stdout.fnmatch_lines(["REGRESSED output throughput *", "test_chat  *REGRESSED *"])
    result.stdout.no_fnmatch_line("*During handling of*")


def test_an_expected_failure_stays_one(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(check=SKIPS, step_seconds=0.02, marks=["@pytest.mark.xfail"])
    project.run("--vllmperf", *workers).assert_outcomes(xfailed=1)


def test_one_that_agrees_is_skipped_and_judged(project: Project, workers: list[str]) -> None:
    project.perf_tests(check=SKIPS)
    project.perf_tests("test_other", module="test_other.py")
    project.run("--vllmperf-update", *workers).assert_outcomes(skipped=1, passed=1)
    assert project.sessions() == [3]
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(skipped=1, passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_chat * OK *"])


def test_what_was_recorded_and_not_yet_checked_is_no_failure(project: Project) -> None:
    record = "vllmperf.record('steps', 1.0, better='lower')"
    project.perf_tests(check=f"{record}; pytest.skip('no FP8 here')")
    project.perf_tests("test_other", module="test_other.py")
    project.run("--vllmperf-update").assert_outcomes(skipped=1, passed=1)
