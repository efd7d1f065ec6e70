"""--vllmperf-noisy: what it does to a test that its verdict is NOISY."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import load

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
    result.stdout.fnmatch_lines(
        ["test_chat  NOISY*", "test_chat: cannot be distinguished from noise after 6 engine starts"]
    )
    result.stdout.fnmatch_lines(
        [
            "  NOISY  output throughput  375.9 -> * tok/s  -5.3 % [[]-*, +*[]]",
            "  smallest slowdown detected here: * % to * %; use compare(), or add",
            "      sessions (--vllmperf-append)",
        ]
    )


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
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-noisy: '{value}' is not valid; choose one of warn, fail"])


def _warned(result: pytest.RunResult) -> int:
    return result.parseoutcomes().get("warnings", result.parseoutcomes().get("warning", 0))


def test_pytest_counts_it_once_for_a_test(unclear: Project, workers: list[str]) -> None:
    result = unclear.run("--vllmperf", *workers)
    assert _warned(result) == 1
    text = " ".join(line.strip() for line in result.outlines)
    assert "NoisyWarning: NOISY output throughput -5." in text
    assert "margin 5 %: cannot be distinguished from noise (and 3 more metrics)" in text
    assert re.search(r"test_chat.py:\d+: NoisyWarning", text)
    assert "vllmperf.check(run)" in text, "the line of the check"
    unclear.perf_tests()
    assert _warned(unclear.run("--vllmperf", *workers)) == 0


def test_several_tests_that_share_their_engines_have_a_warning_each(project: Project) -> None:
    project.perf_tests("test_a", "test_b", "test_c")
    project.record()
    project.perf_tests("test_a", "test_b", "test_c", step_seconds=0.0106)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=3, warnings=3)


def test_a_filter_that_makes_warnings_errors_fails_the_test(unclear: Project, workers: list[str]) -> None:
    result = unclear.run("--vllmperf", "-W", "error", "--vllmperf-json=run.json", *workers)
    result.assert_outcomes(failed=1)
    assert [test.failed_by for test in load(unclear.root / "run.json").tests] == ["verdict"]
    assert "A warning filter turns NoisyWarning into an error." in result.outlines
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_filter_of_its_own_keeps_it_a_warning_or_silences_it(unclear: Project) -> None:
    unclear.ini("filterwarnings =", "    error", "    default::pytest_vllmperf.VllmPerfWarning")
    unclear.run("--vllmperf").assert_outcomes(passed=1, warnings=1)
    unclear.ini("filterwarnings =", "    error", "    ignore::pytest_vllmperf.NoisyWarning")
    unclear.run("--vllmperf").assert_outcomes(passed=1, warnings=0)
    unclear.ini()
    unclear.run("--vllmperf", "-p", "no:warnings").assert_outcomes(passed=1, warnings=0)


def test_what_fails_for_it_is_no_warning_too(unclear: Project) -> None:
    unclear.run("--vllmperf", "--vllmperf-noisy=fail").assert_outcomes(failed=1, warnings=0)
