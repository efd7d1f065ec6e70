"""A test that fails, as expected or not, records nothing and prunes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("check", ["vllmperf.check(run); assert 0", "vllmperf.check(run)"])
def test_an_expected_failure_leaves_the_file_as_it_was(
    project: Project, strict: bool, check: str, workers: list[str]
) -> None:
    project.perf_tests("test_chat", "test_gone")
    project.record()
    before = project.files()
    project.perf_tests("test_chat", marks=[f"@pytest.mark.xfail(strict={strict})"], check=check, step_seconds=0.03)
    project.run("--vllmperf-update", *workers)
    assert project.files() == before


def test_an_engine_that_does_not_start_as_expected_judges_nothing(project: Project, workers: list[str]) -> None:
    project.perf_tests(marks=["@pytest.mark.xfail"], fail="load")
    result = project.run("--vllmperf", "--vllmperf-report=run.md", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nothing was judged" in result.stdout.str()
    assert "## vllmperf: NOTHING JUDGED" in (project.root / "run.md").read_text(encoding="utf-8")


def test_a_neighbour_is_recorded_all_the_same(project: Project) -> None:
    project.perf_tests("test_chat", marks=["@pytest.mark.xfail"], check="vllmperf.check(run); assert 0")
    project.perf_tests("test_other", module="test_other.py")
    project.run("--vllmperf-update").assert_outcomes(passed=1, xfailed=1)
    assert list(project.files()) == ["simulated/test_other.json"]
