from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_records_what_has_none_and_judges_the_rest(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_old")
    project.record()
    before = project.stored()["test_old"]
    project.perf_tests("test_old", "test_new")
    result = project.run("--vllmperf-update-new", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_new  RECORDED*", "test_old  OK*"])
    assert sorted(project.stored()) == ["test_new", "test_old"]
    assert project.stored()["test_old"] == before


def test_a_regression_still_fails_and_is_not_recorded(project: Project) -> None:
    project.perf_tests("test_old")
    project.record()
    before = project.stored()["test_old"]
    project.perf_tests("test_old", "test_new", step_seconds=0.02)
    result = project.run("--vllmperf-update-new")
    result.assert_outcomes(passed=1, failed=1)
    assert sorted(project.stored()) == ["test_new", "test_old"]
    assert project.stored()["test_old"] == before


def test_nothing_new_writes_nothing(project: Project) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    result = project.run("--vllmperf-update-new")
    assert result.ret == pytest.ExitCode.OK
    assert project.files() == before
    result.stdout.no_fnmatch_line("written:*")


def test_never_prunes(project: Project) -> None:
    project.perf_tests("test_gone", "test_kept")
    project.record()
    project.perf_tests("test_kept", "test_new")
    project.run("--vllmperf-update-new").assert_outcomes(passed=2)
    assert sorted(project.stored()) == ["test_gone", "test_kept", "test_new"]


def test_a_new_check_beside_an_old_one(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(check="vllmperf.check(run); vllmperf.check(run, name='again')")
    project.run("--vllmperf-update-new").assert_outcomes(passed=1)
    assert sorted(project.stored()) == ["test_chat", "test_chat # again"]
