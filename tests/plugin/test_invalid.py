"""An engine that ends every request one token early did other work than was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-update", "--vllmperf-update-new"])
def test_fails_and_is_never_recorded(project: Project, flag: str) -> None:
    project.perf_tests("test_void", fail="short")
    result = project.run(flag)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID  test_void: a request gave 4 output tokens where 5 were asked for *"])
    result.stdout.fnmatch_lines(["test_void  INVALID*"])
    result.stdout.no_fnmatch_line("*fixture.py*")
    assert project.files() == {}


def test_an_update_keeps_the_baseline_that_there_was(project: Project) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    project.perf_tests(fail="short")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_chat *INVALID*"])
    assert project.files() == before


def test_a_comparison_with_it_fails_too(project: Project) -> None:
    project.module("""
def test_compare(vllmperf):
    a = vllmperf.engine("sim", backend="simulated", fail="short")
    b = vllmperf.engine("sim", backend="simulated")
    vllmperf.compare(a, b, WORK)
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID  sim fail=short: a request gave 4 output tokens *"])
