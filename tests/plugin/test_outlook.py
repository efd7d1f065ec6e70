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
    assert "slowdowns that will be found four times in five: test_chat: output throughput 7.8 % * · TTFT" in text
    assert "* the margin cannot be told from noise yet: add sessions (--vllmperf-append)" in text


def test_what_is_said_is_what_is_found(project: Project) -> None:
    project.perf_tests()
    project.record()
    for step_seconds, outcome in ((0.0106, "passed"), (0.0112, "failed")):
        project.perf_tests(step_seconds=step_seconds)
        project.run("--vllmperf").assert_outcomes(**{outcome: 1})


def test_a_margin_that_can_be_tested_needs_no_advice(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(margin=0.2)"])
    text = _text(project.run("--vllmperf-update"))
    assert ": output throughput 21 % ·" in text
    assert "cannot be told" not in text
    assert "--vllmperf-append" not in text


def test_more_sessions_find_less(project: Project) -> None:
    project.perf_tests()
    project.record()
    for _ in range(4):
        text = _text(project.run("--vllmperf-append"))
    assert ": output throughput 5." in text
    assert "cannot be told" not in text


def test_counters_need_none(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='exact')"])
    assert "will be found" not in _text(project.run("--vllmperf-update"))


def test_a_gate_says_nothing_of_it(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert "will be found" not in _text(project.run("--vllmperf"))
