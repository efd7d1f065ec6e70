from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _counted(project: Project) -> int:
    return len(project.engine()["samples"]["output_throughput"])


def test_default(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert _counted(project) == 10


def test_option(project: Project) -> None:
    project.perf_tests()
    project.record("--vllmperf-iterations", "3")
    assert _counted(project) == 3


def test_ini_option_marker_call(project: Project) -> None:
    project.ini("vllmperf_iterations = 3")
    project.perf_tests()
    project.record()
    assert _counted(project) == 3
    project.record("--vllmperf-iterations=4")
    assert _counted(project) == 4
    mark = "@pytest.mark.vllmperf(iterations=5)"
    project.perf_tests(marks=[mark])
    project.record("--vllmperf-iterations=4")
    assert _counted(project) == 5
    project.perf_tests(marks=[mark], check="vllmperf.check(vllmperf.measure(WORK, iterations=6))")
    project.record("--vllmperf-iterations=4")
    assert _counted(project) == 6


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "", "nan"])
def test_impossible_option(project: Project, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-iterations={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-iterations: '{value}' is not a whole number of at least 1"])


def test_impossible_ini(project: Project) -> None:
    project.ini("vllmperf_iterations = none")
    project.perf_tests()
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: ini setting vllmperf_iterations: 'none' is not a whole number of at least 1"])


def test_impossible_call_fails_the_test_in_one_line(project: Project) -> None:
    project.perf_tests(check="vllmperf.measure(WORK, iterations=0)")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["iterations: 0 is not a whole number of at least 1"])
    result.stdout.no_fnmatch_line("*options.py*")
