from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _checks(project: Project, *checks: str, step: float = 0.01) -> None:
    project.perf_tests("test_two", check="; ".join(f"vllmperf.check({check})" for check in checks), step_seconds=step)


def test_names_keep_baselines_apart(project: Project) -> None:
    _checks(project, "run, name='cold'", "vllmperf.measure(WORK, iterations=3), name='warm'")
    result = project.run("--vllmperf-update")
    result.stdout.fnmatch_lines(["test_two # cold *RECORDED*", "test_two # warm *RECORDED*"])
    assert sorted(project.stored()) == ["test_two # cold", "test_two # warm"]
    counts = [len(project.engine(f"test_two # {name}")["samples"]["ttft.p50"]) for name in ("cold", "warm")]
    assert counts == [10, 3]
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_without_names_they_are_numbered(project: Project) -> None:
    _checks(project, "run", "run", "run")
    project.record()
    assert sorted(project.stored()) == ["test_two", "test_two # 2", "test_two # 3"]


@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-update"])
def test_one_name_twice_is_refused(project: Project, flag: str) -> None:
    _checks(project, "run, name='cold'")
    project.record()
    before = project.files()
    _checks(project, "run, name='cold'", "run, name='cold'")
    result = project.run(flag)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_two: two checks are called 'cold'; give each a name of its own"])
    result.stdout.no_fnmatch_line("*fixture.py*")
    assert project.files() == before


def test_each_is_judged_by_its_own(project: Project) -> None:
    other = "vllmperf.measure(WORK, engine=vllmperf.engine('sim', backend='simulated', step_seconds={}))"
    _checks(project, "run", f"{other.format(0.01)}, name='other'")
    project.record()
    _checks(project, "run", f"{other.format(0.02)}, name='other'")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_two  *OK*", "test_two # other *REGRESSED*"])


def test_a_failing_check_names_itself(project: Project) -> None:
    """With two checks in one test, the lines have to say which one they are about."""
    _checks(project, "run, name='cold'", "run, name='warm', margin='900%'")
    project.record()
    _checks(project, "run, name='cold', margin='900%'", "run, name='warm'", step=0.02)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    failure = result.stdout.str().split("= FAILURES =")[1].split("= vllmperf")[0]
    assert "warm" in failure


def test_a_test_that_fails_at_its_second_check_records_neither(project: Project) -> None:
    _checks(project, "run, name='cold'", "run, name='warm', gate='nothing'")
    project.run("--vllmperf-update").assert_outcomes(failed=1)
    assert project.files() == {}


@pytest.mark.parametrize("name", ["a # b", ""])
def test_a_name_that_could_not_be_read_back_is_refused(project: Project, name: str) -> None:
    _checks(project, f"run, name={name!r}")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*test_two: a check cannot be called {name!r}*"])
    result.stdout.no_fnmatch_line("*fixture.py*")
    assert project.files() == {}
