"""--vllmperf-reason: why a baseline is recorded anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


TEXT = "vLLM 0.33: 20 % slower and right, see issue 7"


def test_it_is_kept_with_what_was_recorded(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    assert project.stored()["test_a"]["reason"] == ""
    project.record("--vllmperf-reason", TEXT, "-k", "test_a", *workers)
    assert (project.stored()["test_a"]["reason"], project.stored()["test_b"]["reason"]) == (TEXT, "")


def test_appending_leaves_it_as_it_is(project: Project) -> None:
    project.perf_tests()
    project.record("--vllmperf-reason", TEXT)
    project.run("--vllmperf-append").assert_outcomes(passed=1)
    assert project.stored()["test_chat"]["reason"] == TEXT


def test_new_baselines_may_have_one_too(project: Project) -> None:
    project.perf_tests()
    project.run("--vllmperf-update-new", "--vllmperf-reason", TEXT).assert_outcomes(passed=1)
    assert project.stored()["test_chat"]["reason"] == TEXT


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--vllmperf"], "--vllmperf-reason has no effect without --vllmperf-update; add it"),
        (["--vllmperf-append"], "--vllmperf-reason has no effect without --vllmperf-update; add it"),
        (["--vllmperf-update"], "--vllmperf-reason is empty"),
    ],
)
def test_where_it_means_nothing(project: Project, arguments: list[str], line: str) -> None:
    project.perf_tests()
    reason = " " if "empty" in line else TEXT
    result = project.run(*arguments, "--vllmperf-reason", reason)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {line}"])
