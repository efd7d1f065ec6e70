"""Fewer than three engine starts are no baseline: neither recorded nor judged by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("flag", ["--vllmperf-update", "--vllmperf-update-new"])
def test_recording_on_fewer_is_refused(project: Project, starts: list[str], count: int, flag: str) -> None:
    project.perf_tests()
    result = project.run(flag, f"--vllmperf-engines={count}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --vllmperf-engines (vllmperf_engines) is {count}: a baseline needs at least 3 engine starts"]
    )
    assert starts == []
    assert project.files() == {}


def test_a_recording_that_ran_out_of_time_is_refused(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    result = project.run("--vllmperf-update", "--vllmperf-max-time=0", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID  test_chat: nothing was recorded: 1 engine start counts*max-time*"])
    assert project.files() == {}


def thin(project: Project, starts: int) -> None:
    """Record a baseline and cut it down, as one of an older run may be."""
    project.perf_tests()
    project.record()
    content = json.loads(project.baseline().read_text(encoding="utf-8"))
    session = content["tests"]["test_chat"]["sessions"][0]
    session["engines"] = session["engines"][:starts]
    project.baseline().write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("starts", [1, 2])
def test_a_thin_baseline_fails_whatever_was_measured(project: Project, starts: int, workers: list[str]) -> None:
    thin(project, starts)
    for step in (0.01, 0.07):
        project.perf_tests(step_seconds=step)
        result = project.run("--vllmperf", *workers)
        result.assert_outcomes(failed=1)
        text = " ".join(line.strip() for line in result.outlines)
        assert f"NO_BASELINE  test_chat: the baseline holds {starts} engine start" in text
        assert "pytest --vllmperf-update-new test_chat.py::test_chat" in text
        assert "smallest slowdown" not in text


def test_the_command_that_it_names_records_it(project: Project) -> None:
    thin(project, 1)
    project.run("--vllmperf-update-new").assert_outcomes(passed=1)
    assert project.sessions() == [3]
    project.run("--vllmperf").assert_outcomes(passed=1)


@pytest.mark.parametrize("limit", ["--vllmperf-max-engines=1", "--vllmperf-max-time=0"])
def test_a_large_slowdown_is_no_noise_however_few_engines_may_start(project: Project, limit: str) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.03)
    result = project.run("--vllmperf", limit)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_chat  REGRESSED*"])
