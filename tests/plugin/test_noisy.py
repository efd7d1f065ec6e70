"""--vllmperf-noisy: what it does to a test that its verdict is NOISY."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def unclear(project: Project) -> Project:
    """A baseline, and an engine that is slower by what one session cannot tell from noise."""
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.0106)
    return project


def test_by_default_it_warns_and_says_what_to_do(unclear: Project, workers: list[str]) -> None:
    result = unclear.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_chat  NOISY *", "test_chat: cannot be told from noise after 6 engine starts"])
    result.stdout.fnmatch_lines([
            "  NOISY  output throughput  375.9 -> * tok/s  -5.3 % [[]-*, +*[]]",
            "  smallest slowdown detected here: * % to * %; use compare(), or add",
            "      sessions (--vllmperf-append)",
        ])


def test_it_can_fail(unclear: Project, workers: list[str]) -> None:
    result = unclear.run("--vllmperf", "--vllmperf-noisy=fail", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOISY output throughput *"])
    unclear.ini("vllmperf_noisy = fail")
    unclear.run("--vllmperf").assert_outcomes(failed=1)
    unclear.run("--vllmperf", "--vllmperf-noisy=warn").assert_outcomes(passed=1)


def test_what_is_ok_passes_either_way(unclear: Project) -> None:
    unclear.perf_tests()
    unclear.run("--vllmperf", "--vllmperf-noisy=fail").assert_outcomes(passed=1)


@pytest.mark.parametrize("value", ["", "error", "FAIL"])
def test_impossible_option(project: Project, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-noisy={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-noisy: '{value}' is none of warn, fail"])
