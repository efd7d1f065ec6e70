"""`allow`: validity rules that are turned off, in the marker, by flag and in the ini file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.records.problems import RULES

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _void(project: Project, *marks: str) -> None:
    """A test whose engine ends every request one token early, which the rule `length` forbids."""
    project.perf_tests(marks=marks, fail="short")


def _allowed(project: Project, *arguments: str) -> bool:
    """Whether the measurement is recorded, or void."""
    result = project.run("--vllmperf-update-new", *arguments)
    outcomes = result.parseoutcomes()
    if outcomes == {"passed": 1}:
        return True
    assert outcomes == {"failed": 1}
    result.stdout.fnmatch_lines(["INVALID  test_chat: a request returned 4 output tokens instead of 5 *"])
    return False


@pytest.mark.parametrize("words", ["'length'", "['length']", "('lost', 'length')", "'lost, length'"])
def test_the_marker_allows(project: Project, workers: list[str], words: str) -> None:
    _void(project)
    assert not _allowed(project, *workers)
    _void(project, f"@pytest.mark.vllmperf(allow={words})")
    assert _allowed(project, *workers)


def test_flag_over_ini(project: Project, workers: list[str]) -> None:
    _void(project)
    assert not _allowed(project, "--vllmperf-allow", "preemptions lost", *workers)
    assert _allowed(project, "--vllmperf-allow", "preemptions length", *workers)
    project.ini("vllmperf_allow = lost, length")
    assert _allowed(project, *workers)
    assert not _allowed(project, "--vllmperf-allow", "lost", *workers)
    assert not _allowed(project, "--vllmperf-allow=", *workers)


@pytest.mark.parametrize("words", ["'lost'", "[]", "''"])
def test_a_marker_replaces_what_the_run_allows(project: Project, workers: list[str], words: str) -> None:
    _void(project)
    assert _allowed(project, "--vllmperf-allow=length", *workers)
    _void(project, f"@pytest.mark.vllmperf(allow={words})")
    assert not _allowed(project, "--vllmperf-allow=length", *workers)


@pytest.mark.parametrize("where", ["--vllmperf-allow", "ini setting vllmperf_allow"])
def test_a_rule_that_does_not_exist(project: Project, where: str, starts: list[str]) -> None:
    project.perf_tests()
    if where.startswith("ini"):
        project.ini("vllmperf_allow = length speed")
        result = project.run("--vllmperf")
    else:
        result = project.run("--vllmperf", f"{where}=length speed")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = f"ERROR: {where}: no validity rule has the name 'speed'; rules: {', '.join(RULES)}"
    assert [found for found in result.errlines if found] == [line]
    assert starts == []


def test_a_comparison_takes_it_too(project: Project, workers: list[str]) -> None:
    body = """
{mark}
def test_chat(vllmperf):
    a = vllmperf.engine("sim", backend="simulated", fail="short")
    b = vllmperf.engine("sim", backend="simulated")
    vllmperf.compare(a, b, WORK)
"""
    project.module(body.format(mark=""))
    project.run("--vllmperf", *workers).assert_outcomes(failed=1)
    project.module(body.format(mark='@pytest.mark.vllmperf(allow="length")'))
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
