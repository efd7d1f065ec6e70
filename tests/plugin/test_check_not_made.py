"""A test that passes, and does not make a check that its baseline holds: a slowdown there would go unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_json import FLAG, written

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BOTH = "vllmperf.check(run, name='a'); vllmperf.check(run, name='b')"
ONE = "vllmperf.check(run, name='a', gate='exact')"
HELD = "stored in simulated/test_chat.json, but the test did not make this check; call check() as before, or delete"


@pytest.fixture
def both(project: Project) -> Project:
    """A baseline with two checks of one test."""
    project.perf_tests(check=BOTH)
    project.record()
    return project


def text(result: pytest.RunResult) -> str:
    return " ".join(" ".join(result.outlines).split())


@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-append", "--vllmperf-update"])
def test_told(both: Project, workers: list[str], flag: str) -> None:
    both.perf_tests(check=ONE, step_seconds=0.02)
    result = both.run(flag, FLAG, *workers)
    result.assert_outcomes(passed=1)
    assert f"test_chat.py::test_chat # b: {HELD}" in text(result)
    [test] = written(both).tests
    assert len(test.unchecked) == 1
    assert sorted(both.stored()) == ["test_chat # a", "test_chat # b"]


@pytest.mark.parametrize("ends", ["assert False", "pytest.skip()", "pytest.xfail()"])
def test_a_test_that_did_not_pass_says_enough(both: Project, ends: str) -> None:
    both.perf_tests(check=f"{ONE}; {ends}")
    assert "did not make" not in text(both.run("--vllmperf"))


def test_a_test_that_only_asserts(both: Project, workers: list[str]) -> None:
    both.perf_tests(check="assert run.ttft.p50 < 1")
    result = both.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert text(result).count(HELD) == 2


def test_a_test_that_only_asserts_on_what_others_measured(project: Project, workers: list[str]) -> None:
    shared = """
@pytest.fixture(scope="session")
def run(vllmperf_session):
    engine = vllmperf_session.engine("sim", backend="simulated")
    return vllmperf_session.measure(WORK, engine=engine)

def test_first(vllmperf, run):
    vllmperf.check(run)

def test_second(vllmperf, run):
    vllmperf.check(run)
"""
    project.module(shared)
    project.record()
    head, check, last = shared.rpartition("vllmperf.check(run)")
    assert check
    project.module(f"{head}assert run.ttft.p50 < 1{last}")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=2)
    assert f"test_second: {HELD}" in text(result)
    assert f"test_first: {HELD}" not in text(result)


def test_checks_of_other_hardware_and_of_other_tests_are_none_of_it(both: Project) -> None:
    folder = both.root / "baselines"
    (folder / "simulated").rename(folder / "h100")
    both.perf_tests("test_chat", "test_other", check=ONE)
    assert "did not make" not in text(both.run("--vllmperf-update"))
    assert "did not make" not in text(both.run("--vllmperf", "-k", "test_other"))
