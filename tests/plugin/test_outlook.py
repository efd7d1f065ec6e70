"""What recording says about the baseline that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _text(result: pytest.RunResult) -> str:
    return " ".join(line.strip() for line in result.outlines)


def test_the_slowdowns_that_will_be_found(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    text = _text(project.run("--vllmperf-update", *workers))
    assert "test_chat will find, four times in five, slowdowns from output throughput 7." in text
    assert "a margin of 5 % cannot be told from noise yet for output throughput" in text
    assert "add sessions with --vllmperf-append, or set a margin that fits" in text


def test_what_is_said_is_what_is_found(project: Project) -> None:
    project.perf_tests()
    project.record()
    for step_seconds, outcome in ((0.0106, "passed"), (0.0112, "failed")):
        project.perf_tests(step_seconds=step_seconds)
        project.run("--vllmperf").assert_outcomes(**{outcome: 1})


def test_a_margin_that_can_be_tested_needs_no_advice(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(margin=0.2)"])
    text = _text(project.run("--vllmperf-update"))
    assert "slowdowns from output throughput 2" in text
    assert "cannot be told" not in text
    assert "--vllmperf-append" not in text


def test_more_sessions_find_less(project: Project) -> None:
    project.perf_tests()
    project.record()
    for _ in range(4):
        text = _text(project.run("--vllmperf-append"))
    assert "slowdowns from output throughput 5." in text
    assert "cannot be told" not in text


def test_counters_need_none(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='exact')"])
    assert "will find" not in _text(project.run("--vllmperf-update"))


def test_a_gate_says_nothing_of_it(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert "will find" not in _text(project.run("--vllmperf"))
