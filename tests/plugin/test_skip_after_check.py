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


TEST_CASE = """
import unittest

@pytest.mark.vllm("sim", backend="simulated", step_seconds={step})
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _fixtures(self, vllmperf):
        self.vllmperf = vllmperf

    def test_chat(self):
        self.vllmperf.check(self.vllmperf.measure(WORK))
        {ends}

@pytest.mark.vllm("sim", backend="simulated", step_seconds={step})
def test_other(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
    {ends_other}
"""


def test_skips_of_unittest_too(project: Project, workers: list[str]) -> None:
    project.module(TEST_CASE.format(step=0.01, ends="", ends_other=""))
    project.record()
    skips = {"ends": "self.skipTest('no FP8 here')", "ends_other": "raise unittest.SkipTest('no FP8 here')"}
    project.module(TEST_CASE.format(step=0.02, **skips))
    result = project.run("--vllmperf", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(skipped=1, errors=1, failed=1)
    assert result.stdout.str().count("REGRESSED output throughput") == 2 + 2
    project.module(TEST_CASE.format(step=0.01, **skips))
    project.perf_tests("test_last", module="test_last.py", check="assert run.ttft.p50")
    project.run("--vllmperf", *workers).assert_outcomes(skipped=2, passed=1)


def test_a_fixture_that_skips_after_a_check(project: Project, workers: list[str]) -> None:
    fixture = """
@pytest.fixture
def run(vllmperf):
    run = vllmperf.measure(WORK)
    vllmperf.check(run)
    {ends}
    return run

@pytest.mark.vllm("sim", backend="simulated", step_seconds={step})
def test_chat(run):
    pass
"""
    project.module(fixture.format(step=0.01, ends=""))
    project.record()
    project.module(fixture.format(step=0.02, ends="pytest.skip()"))
    project.run("--vllmperf", *workers).assert_outcomes(skipped=1, errors=1)


def test_an_expected_failure_stays_one(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(check=SKIPS, step_seconds=0.02, marks=["@pytest.mark.xfail"])
    project.run("--vllmperf", *workers).assert_outcomes(xfailed=1)
    project.perf_tests(check="vllmperf.check(run); pytest.xfail('known')", step_seconds=0.02)
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
