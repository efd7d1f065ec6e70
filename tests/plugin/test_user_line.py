"""An error shows the user's own line of code, in every style of traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

STYLES = ["--tb=auto", "--tb=short", "--tb=line", "--tb=native"]


@pytest.mark.parametrize("style", STYLES)
def test_of_a_check(project: Project, style: str, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.03)
    result = project.run("--vllmperf", style, *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_chat.py:9: *"])
    assert "pytest_vllmperf" not in result.stdout.str()


@pytest.mark.parametrize("style", STYLES)
def test_of_a_workload(project: Project, style: str) -> None:
    project.module("def test_chat(vllmperf):\n    Workload.synthetic(requests=0, input_tokens=8, output_tokens=5)\n")
    result = project.run("--vllmperf", style)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_chat.py:7: *"])
    assert "pytest_vllmperf" not in result.stdout.str()


@pytest.mark.parametrize("style", STYLES)
def test_of_an_engine_that_does_not_start(project: Project, style: str) -> None:
    project.perf_tests(no_such_argument=1)
    result = project.run("--vllmperf", style)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_chat.py:8: *"])
    assert "contextlib" not in result.stdout.str()


def test_of_a_marker(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(iterations=0)"])
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_chat.py:6: test_chat.py::test_chat: @pytest.mark.vllmperf: iterations*"])


def test_the_summary_says_why(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.03)
    result = project.run("--vllmperf", "-rf")
    result.stdout.fnmatch_lines(["FAILED test_chat.py::test_chat - REGRESSED *"])


def test_a_full_trace_is_there_for_who_wants_it(project: Project) -> None:
    project.module("def test_chat(vllmperf):\n    vllmperf.measure(8)\n")
    result = project.run("--vllmperf", "--full-trace")
    result.stdout.fnmatch_lines(["*fixture.py:*"])
