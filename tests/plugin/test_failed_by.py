"""Why a test failed, in the file of the run: by a verdict on performance alone, or for another reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_json import FLAG, written

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TESTS = """
import os

STEP = float(os.environ.get("STEP", "0.01"))
MARK = pytest.mark.vllm("sim", backend="simulated", step_seconds=STEP)

@pytest.fixture
def breaks_later():
    yield
    if STEP > 0.01:
        raise RuntimeError("late")

@MARK
def test_slower(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

@MARK
def test_beyond_its_limit(vllmperf):
    vllmperf.check(vllmperf.measure(WORK), gate="limits", limits={"ttft.p50": 0.5 if STEP == 0.01 else 0.001})

@MARK
def test_slo(vllmperf):
    run = vllmperf.measure(WORK)
    run.assert_slo(ttft=0.5 if STEP == 0.01 else 0.001)
    vllmperf.check(run)

@MARK
def test_caught_and_asserted(vllmperf):
    try:
        vllmperf.check(vllmperf.measure(WORK))
    except AssertionError:
        pass
    assert STEP == 0.01

@MARK
def test_asserts_on_the_measurement(vllmperf):
    run = vllmperf.measure(WORK)
    vllmperf.check(run)
    assert run.ttft.p50 < (0.5 if STEP == 0.01 else 0.001)

@MARK
def test_slower_and_its_fixture_breaks(breaks_later, vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

@MARK
def test_not_recorded(vllmperf):
    if STEP > 0.01:
        vllmperf.check(vllmperf.measure(WORK))
    else:
        pytest.skip("later")

@MARK
def test_its_engine_does_not_start(vllmperf):
    if STEP > 0.01:
        vllmperf.measure(WORK, engine=vllmperf.engine("sim", backend="simulated", fail="load"))
    else:
        pytest.skip("later")

def test_beside():
    assert STEP == 0.01
"""
FAILED_BY = {
    "test_slower": "verdict",
    "test_beyond_its_limit": "verdict",
    "test_slo": "verdict",
    "test_caught_and_asserted": "other",
    "test_asserts_on_the_measurement": "other",
    "test_slower_and_its_fixture_breaks": "other",
    "test_not_recorded": "verdict",
    "test_its_engine_does_not_start": "other",
}


def test_each_reason_has_its_word(project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    project.module(TESTS)
    project.record()
    assert project.run("--vllmperf", FLAG, *workers).ret == pytest.ExitCode.OK
    report = written(project)
    assert {test.failed_by for test in report.tests} == {""}
    assert report.run.others_failed == ()
    monkeypatch.setenv("STEP", "0.02")
    assert project.run("--vllmperf", FLAG, *workers).ret == pytest.ExitCode.TESTS_FAILED
    report = written(project)
    assert {test.nodeid.partition("::")[2]: test.failed_by for test in report.tests} == FAILED_BY
    assert report.run.others_failed == ("test_chat.py::test_beside",)


COMPARED = """
@pytest.mark.parametrize("claim", ["assert_speedup(3)", "assert_same_quality()"])
def test_compared(vllmperf, claim):
    a = vllmperf.engine("a", backend="simulated", deviation=0.6)
    b = vllmperf.engine("b", backend="simulated")
    compared = vllmperf.compare(a, b, WORK)
    eval("compared." + claim)
"""


def test_a_claim_on_performance_is_a_verdict_and_one_on_answers_is_none(project: Project) -> None:
    project.module(COMPARED)
    assert project.run("--vllmperf", FLAG).ret == pytest.ExitCode.TESTS_FAILED
    report = written(project)
    assert [test.failed_by for test in report.tests] == ["verdict", "other"]
