"""--vllmperf-max-time: when no further engine is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_no_time_leaves_the_first_engine_alone(project: Project, starts: list[str]) -> None:
    project.perf_tests()
    project.record()
    starts.clear()
    project.perf_tests(step_seconds=0.0106)
    result = project.run("--vllmperf", "--vllmperf-max-time=0")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  NOISY*", "*cannot be told from noise after 1 engine start"])
    assert len(starts) == 1


def test_ini(project: Project, starts: list[str]) -> None:
    project.perf_tests()
    project.record()
    project.ini("vllmperf_max_time = 0")
    project.perf_tests(step_seconds=0.0106)
    for arguments, engines in (((), 1), (("--vllmperf-max-time=600",), 6)):
        starts.clear()
        project.run("--vllmperf", *arguments).assert_outcomes(passed=1)
        assert len(starts) == engines


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "long"])
def test_impossible_option(project: Project, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-max-time={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-max-time: '{value}' is not a number of at least 0"])
