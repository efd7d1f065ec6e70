"""A fixture that is asked for while the test runs settles like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BODY = """\
@pytest.mark.vllm("sim", backend="simulated", step_seconds={step})
def test_chat(request):
    vllmperf = request.getfixturevalue("vllmperf")
    vllmperf.check(vllmperf.measure(WORK))

def test_other():
    pass
"""


def test_a_slowdown_fails(project: Project, workers: list[str]) -> None:
    project.module(BODY.format(step=0.01))
    project.record(*workers)
    assert project.sessions() == [3]
    project.run("--vllmperf", *workers).assert_outcomes(passed=2)
    project.module(BODY.format(step=0.03))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["REGRESSED output throughput *", "test_chat  REGRESSED*"])


def test_it_counts_as_a_performance_test(project: Project) -> None:
    project.module("def test_chat(request):\n    request.getfixturevalue('vllmperf')\n    pytest.skip('no')\n")
    result = project.run("--vllmperf")
    result.stdout.fnmatch_lines(["ERROR: nothing was measured: the only performance test was skipped*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_check_in_another_fixtures_teardown_settles_too(project: Project, workers: list[str]) -> None:
    """The fixture's own end is the backstop."""
    body = """\
@pytest.fixture
def measured(vllmperf):
    yield
    vllmperf.check(vllmperf.measure(WORK))

@pytest.mark.vllm("sim", backend="simulated", step_seconds={step})
def test_chat(measured):
    pass
"""
    project.module(body.format(step=0.01))
    project.record(*workers)
    assert project.sessions() == [3]
    project.module(body.format(step=0.03))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["REGRESSED output throughput *"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_failure_that_the_test_catches_fails_it_all_the_same(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="vllmperf.check(run)")
    project.record()
    project.perf_tests(check="\n    ".join(["try:", "    vllmperf.check(run)", "except BaseException:", "    pass"]),
                       step_seconds=0.01, max_num_seqs=2)  # fmt: skip
    project.run("--vllmperf", "--vllmperf-max-time=0", *workers).assert_outcomes(failed=1)
