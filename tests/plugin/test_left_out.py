"""One engine of a session may be left out for what another does not meet, and is never left out unseen."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.validity import rules as validity

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

HOT = Problem("throttling", "the GPU slowed its clocks in iteration 1")
BUSY = Problem("processes", "process 9 appeared on the GPU")
SHORT = Problem("length", "a request gave 4 output tokens where 5 were asked for")
WORDS = f"{HOT.words} [throttling]"


def found(monkeypatch: pytest.MonkeyPatch, *problems: tuple[Problem, ...]) -> None:
    """What is found of each engine in turn; nothing of later ones."""
    told = iter(problems)
    monkeypatch.setattr(validity, "problems", lambda *_: next(told, ()))


def text(result: pytest.RunResult) -> str:
    """The output with folded lines put together."""
    return " ".join(line.strip() for line in result.outlines)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_recording_has_as_many_engines_as_ever_and_tells_of_the_other(
    project: Project, monkeypatch: pytest.MonkeyPatch, starts: list[str], place: int
) -> None:
    project.perf_tests()
    found(monkeypatch, *[()] * (place - 1), (HOT, BUSY))
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=1)
    assert len(starts) == 4
    assert project.sessions() == [3]
    assert project.stored()["test_chat"]["sessions"][0]["excluded"] == [asdict(HOT), asdict(BUSY)]
    assert f"test_chat: one engine start left out: {HOT}; {BUSY}" in text(result)


def test_a_sound_recording_leaves_nothing_out(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf-update")
    assert project.stored()["test_chat"]["sessions"][0]["excluded"] == []
    assert "left out" not in text(result)


def test_a_second_one_fails_the_test(project: Project, monkeypatch: pytest.MonkeyPatch, starts: list[str]) -> None:
    project.perf_tests()
    found(monkeypatch, (BUSY,), (HOT,))
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    assert f"INVALID  test_chat: {WORDS}" in result.outlines
    assert f"test_chat: one engine start left out: {BUSY}" in text(result)
    assert len(starts) == 2
    assert project.files() == {}


def test_what_every_engine_would_meet_is_not_tried_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, starts: list[str]
) -> None:
    project.perf_tests()
    found(monkeypatch, (HOT, SHORT))
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    assert len(starts) == 1
    assert "left out" not in text(result)


def test_a_test_gets_the_measurement_of_the_engine_that_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch, starts: list[str]
) -> None:
    check = (
        f"assert (run.problems, [str(one) for one in run.excluded], len(run.engines)) == ((), [{WORDS!r}], 1); "
        "assert run.tpot.p50 < 0.02"
    )
    project.perf_tests(check=check, starts=(3.0, 1.0))
    found(monkeypatch, (HOT,))
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert len(starts) == 2
