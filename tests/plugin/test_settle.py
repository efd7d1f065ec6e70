"""Tests whose checks are open wait for the others on their engine, and are reported once, as their own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import load
from pytest_vllmperf.records.problems import Problem

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def slower(project: Project) -> Project:
    """Three tests on one engine that has got slower since they were recorded, and one on another that has not."""
    for step in (0.01, 0.03):
        project.perf_tests("test_a", "test_b", "test_c", step_seconds=step)
        project.perf_tests("test_same", module="test_other.py", step_seconds=0.015)
        if step == 0.01:
            project.record()
    return project


def test_open_checks_share_each_start(slower: Project, starts: list[str]) -> None:
    slower.run("--vllmperf").assert_outcomes(passed=1, failed=3)
    assert starts == ["sim step_seconds=0.03"] * 3 + ["sim step_seconds=0.015"]


def test_a_check_that_is_decided_is_not_measured_again(
    project: Project, starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    project.perf_tests("test_a", "test_b", check="print('measured', len(run.engines)); vllmperf.check(run)")
    body = (project.root / "test_chat.py").read_text()
    slow = "Workload.synthetic(requests=4, input_tokens=8, output_tokens=5, seed=0)"
    project.write("test_chat.py", body.replace("measure(WORK)", f"measure({slow})", 1))
    starts.clear()
    result = project.run("--vllmperf", "--vllmperf-margin=0.5")
    result.assert_outcomes(passed=2)
    assert len(starts) == 1


def test_every_test_is_reported_once(slower: Project, workers: list[str]) -> None:
    result = slower.run("--vllmperf", "-v", *workers)
    result.assert_outcomes(passed=1, failed=3)
    ended = [line for line in result.outlines if re.search(r"\b(PASSED|FAILED)\b", line) and "%]" in line]
    assert len(ended) == 4
    assert "[100%]" in ended[-1]
    for name in ("test_a", "test_b", "test_c"):
        assert sum(f"::{name} " in line and "FAILED" in line for line in ended) == 1


def test_junit_has_the_failure_and_the_verdict(slower: Project, workers: list[str]) -> None:
    slower.run("--vllmperf", "--junit-xml=report.xml", *workers)
    cases = list(ElementTree.parse(slower.root / "report.xml").getroot().iter("testcase"))
    assert [
        (case.get("name"), case.find("failure") is not None) for case in sorted(cases, key=lambda c: c.get("name"))
    ] == [
        ("test_a", True),
        ("test_b", True),
        ("test_c", True),
        ("test_same", False),
    ]
    for case in cases:
        status = [p.get("value") for p in case.iter("property") if p.get("name") == "vllmperf.status"]
        assert status == ["REGRESSED" if case.find("failure") is not None else "OK"]


def test_measuring_again_counts_as_the_tests_time(slower: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def spent(*args: str) -> float:
        result = slower.run("--vllmperf", "--durations=0", "-vv", "-k", "test_a or test_b", *args)
        (line,) = [line for line in result.outlines if re.match(r"[\d.]+s call .*test_a$", line.strip())]
        return float(line.split("s ")[0])

    measure = "pytest_vllmperf.checking.check.Check.add"

    def slow_add(check: object, measurement: object) -> None:
        check.spent += 100.0  # type: ignore[attr-defined]
        check.measurement = check.measurement.with_engines_of(measurement)  # type: ignore[attr-defined]
        check.look()  # type: ignore[attr-defined]

    monkeypatch.setattr(measure, slow_add)
    assert spent() > 200.0
    assert spent("--vllmperf-max-time=0") < 100.0


@pytest.mark.parametrize("strict", [True, False])
def test_a_regression_that_was_expected(project: Project, strict: bool, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    mark = f"@pytest.mark.xfail(strict={strict}, reason='known')"
    project.perf_tests(marks=[mark], step_seconds=0.03)
    project.run("--vllmperf", *workers).assert_outcomes(xfailed=1)


def test_a_test_that_fails_itself_is_not_measured_again(project: Project, starts: list[str]) -> None:
    project.perf_tests()
    project.record()
    starts.clear()
    project.perf_tests(check="vllmperf.check(run); raise ValueError('mine')", step_seconds=0.03)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * ValueError: mine", "test_chat  UNDECIDED*"])
    assert len(starts) == 1


def test_a_test_that_fails_itself_is_not_recorded(project: Project) -> None:
    project.perf_tests(check="vllmperf.check(run); raise ValueError('mine')")
    project.run("--vllmperf-update").assert_outcomes(failed=1)
    assert project.files() == {}


def test_checks_in_a_fixtures_teardown(project: Project, workers: list[str]) -> None:
    body = """
@pytest.fixture
def checked(vllmperf):
    run = vllmperf.measure(WORK)
    yield run
    vllmperf.check(run)

@pytest.mark.vllm("sim", backend="simulated", step_seconds={})
def test_teardown(checked): pass
"""
    project.module(body.format(0.01))
    project.record()
    assert project.sessions("test_teardown") == [3]
    project.module(body.format(0.03))
    project.run("--vllmperf", *workers).assert_outcomes(passed=1, errors=1)


def test_an_error_in_teardown_stays_one(project: Project) -> None:
    body = """
@pytest.fixture
def breaks():
    yield
    raise ValueError("mine")

@pytest.mark.vllm("sim", backend="simulated", step_seconds={})
def test_teardown(vllmperf{}):
    vllmperf.check(vllmperf.measure(WORK))
"""
    project.module(body.format(0.01, ""))
    project.record()
    project.module(body.format(0.03, ", breaks"))
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["E * ValueError: mine"])


def test_several_checks_of_one_test_fail_it_together(project: Project, starts: list[str]) -> None:
    def checks(step: float) -> None:
        project.perf_tests(
            check="vllmperf.check(run, name='one'); vllmperf.check(run, name='two', gate='tpot.p50')", step_seconds=step
        )

    checks(0.01)
    project.record()
    starts.clear()
    checks(0.03)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["check 'one':", "REGRESSED *", "check 'two':", "REGRESSED TPOT p50 *"])
    assert len(starts) == 3


def test_engines_named_in_tests_are_settled_too(project: Project, starts: list[str]) -> None:
    body = """
@pytest.mark.parametrize("step", [0.01, 0.02])
def test_own(vllmperf, step):
    engine = vllmperf.engine("sim", backend="simulated", step_seconds=step, prefill_seconds_per_token={})
    vllmperf.check(vllmperf.measure(WORK, engine=engine))
"""
    project.module(body.format(0.0001))
    project.record()
    starts.clear()
    project.module(body.format(0.01))
    project.run("--vllmperf").assert_outcomes(failed=2)
    assert len(starts) == 6


def test_an_engine_that_dies_on_the_way_fails_its_test_in_a_line(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    before = project.files()
    project.perf_tests("test_a", "test_b", step_seconds=0.03, fail="again")
    project.perf_tests("test_fine", module="test_other.py")
    result = project.run("--vllmperf-update-new", "--vllmperf-json=run.json", *workers)
    result.assert_outcomes(failed=2, passed=1)
    assert [test.failed_by for test in load(project.root / "run.json").tests] == ["other", "other", ""]
    result.stdout.fnmatch_lines(["test_a: measured again: sim*: the engine process was ended by SIGKILL during run"])
    result.stdout.fnmatch_lines(["*- end of the engine's log -*", "scripted log"])
    result.stdout.fnmatch_lines(["test_a  *INVALID*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert {name: text for name, text in project.files().items() if "test_chat" in name} == before
    assert project.sessions("test_fine", "test_other") == [3]


def test_a_recording_whose_engine_dies_records_nothing(project: Project) -> None:
    project.perf_tests(fail="again")
    project.run("--vllmperf-update").assert_outcomes(failed=1)
    assert project.files() == {}


def test_a_void_measurement_on_the_way_is_invalid(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.03)
    told = iter([(), (Problem("failed", "a request failed"),)])
    monkeypatch.setattr("pytest_vllmperf.validity.rules.problems", lambda *_: next(told))
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    assert "INVALID  test_chat: a request failed [failed]" in result.outlines


def test_x_settles_test_by_test(slower: Project, starts: list[str]) -> None:
    result = slower.run("--vllmperf", "-x", "test_chat.py")
    result.assert_outcomes(failed=1)
    assert len(starts) == 3


def test_a_run_that_is_stopped_reports_what_has_run(slower: Project) -> None:
    body = (slower.root / "test_chat.py").read_text()
    slower.write(
        "test_chat.py",
        body.replace(
            "def test_b(vllmperf):", "def test_b(vllmperf, request):\n    request.session.shouldstop = 'enough'"
        ),
    )
    result = slower.run("--vllmperf", "-v", "test_chat.py")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["test_a  UNDECIDED*", "test_b  UNDECIDED*"])
    assert result.parseoutcomes()["passed"] == 2


def test_ctrl_c_while_measuring_again_writes_nothing_and_loses_no_report(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_vllmperf.checking.check import Check

    def interrupt(check: Check, measurement: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Check, "add", interrupt)
    project.perf_tests("test_a", "test_b")
    result = project.pytester.runpytest_inprocess(
        "--vllmperf-update", "-p", "no:hypothesispytest", no_reraise_ctrlc=True
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["test_a  UNDECIDED*", "nothing was recorded because *"])
    assert project.files() == {}


def test_ordinary_tests_run_as_ever(project: Project) -> None:
    project.write("test_plain.py", "def test_plain(): pass\ndef test_broken(): assert False\n")
    project.perf_tests()
    project.run("--vllmperf-update").assert_outcomes(passed=2, failed=1)


def test_output_of_a_test_that_regressed_is_shown(slower: Project) -> None:
    body = (slower.root / "test_chat.py").read_text()
    slower.write(
        "test_chat.py", body.replace("def test_a(vllmperf):", "def test_a(vllmperf):\n    print('told by the test')")
    )
    result = slower.run("--vllmperf", "-k", "test_a")
    result.stdout.fnmatch_lines(["*- Captured stdout call -*", "told by the test"])
