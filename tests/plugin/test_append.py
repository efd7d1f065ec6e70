"""--vllmperf-append: what agrees with its baseline joins it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_what_is_ok_is_added(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    before = project.stored()
    project.run("--vllmperf-append", *workers).assert_outcomes(passed=2)
    assert project.sessions("test_a") == project.sessions("test_b") == [3, 3]
    for test in ("test_a", "test_b"):
        assert project.stored()[test]["sessions"][0] == before[test]["sessions"][0]


def test_a_plain_gate_adds_nothing(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert project.sessions() == [3]


@pytest.mark.parametrize(
    ("step_seconds", "status", "outcome"),
    [(0.02, "REGRESSED", "failed"), (0.0106, "NOISY", "passed"), (0.005, "IMPROVED", "passed")],
)
def test_nothing_else_is(project: Project, step_seconds: float, status: str, outcome: str) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    project.perf_tests(step_seconds=step_seconds)
    result = project.run("--vllmperf-append")
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines([f"test_chat  {status} *"])
    assert project.files() == before


def test_a_baseline_too_young_to_decide_can_grow(project: Project) -> None:
    """A margin of 2 % is within the noise of one session: all is NOISY, until there are more."""
    project.perf_tests(marks=["@pytest.mark.vllmperf(margin=0.02)"])
    project.record()
    result = project.run("--vllmperf-append")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  NOISY*"])
    assert project.sessions() == [3, 6]
    project.perf_tests(marks=["@pytest.mark.vllmperf(margin=0.02)"], step_seconds=0.00975)
    project.run("--vllmperf-append").assert_outcomes(passed=1)
    assert project.sessions() == [3, 6], "better by more than the margin is no more to be added than worse"


def test_a_test_that_fails_for_another_reason_adds_nothing(project: Project) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    project.perf_tests(check="vllmperf.check(run); assert False")
    project.run("--vllmperf-append").assert_outcomes(failed=1)
    assert project.files() == before


def test_the_first_five_and_the_newest_fifteen_stay(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(iterations=1)"])
    project.record()
    first = project.stored()["test_chat"]["sessions"]
    for _ in range(21):
        project.run("--vllmperf-append", "--vllmperf-engines=1").assert_outcomes(passed=1)
    assert project.sessions() == [3] + [1] * 19
    stored = project.stored()["test_chat"]["sessions"]
    assert stored[:1] == first
    assert [session["dropped"] for session in stored] == [0] * 5 + [2] + [0] * 14


def test_without_a_baseline_it_fails_unless_new_ones_are_recorded(project: Project) -> None:
    project.perf_tests("test_a")
    project.record()
    project.perf_tests("test_a", "test_b")
    project.run("--vllmperf-append").assert_outcomes(passed=1, failed=1)
    project.run("--vllmperf-append", "--vllmperf-update-new").assert_outcomes(passed=2)
    assert (len(project.sessions("test_a")), len(project.sessions("test_b"))) == (3, 1)


def test_beside_an_update_it_makes_no_sense(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf-append", "--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --vllmperf-update records everything that runs; leave --vllmperf-append out"])


def test_more_sessions_find_smaller_slowdowns(project: Project) -> None:
    """6 % is noise to one session of three engines, and a regression to five of them."""
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.0106)
    project.run("--vllmperf").assert_outcomes(passed=1)
    project.perf_tests()
    for _ in range(4):
        project.run("--vllmperf-append").assert_outcomes(passed=1)
    project.perf_tests(step_seconds=0.0106)
    project.run("--vllmperf").assert_outcomes(failed=1)


def test_what_was_left_out_is_reported_with_the_reason_and_a_way_to_accept_it(
    project: Project, workers: list[str]
) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    body = (project.root / "test_chat.py").read_text()
    project.write("test_chat.py", body.replace("step_seconds=0.01", "step_seconds=0.005", 1))
    result = project.run("--vllmperf-append", *workers)
    result.assert_outcomes(passed=2)
    text = " ".join(line.strip() for line in result.outlines)
    assert "appended 1, left out 1: test_a: output throughput +" in text
    assert "is beyond the margin of 5 %" in text
    assert "to accept a new level: --vllmperf-update, with --vllmperf-reason saying why" in text
    assert (project.sessions("test_a"), project.sessions("test_b")) == ([3], [3, 3])
