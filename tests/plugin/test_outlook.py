"""What recording says about the baseline that it makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _text(result: pytest.RunResult) -> str:
    return " ".join(line.strip() for line in result.outlines)


def test_the_smallest_slowdowns_that_are_detected(project: Project, workers: list[str]) -> None:
    """A slowdown is found where d is beyond M and q(1 - a_fail); four times in five, q(0.8) more than that.

    Nothing is known of sessions after one: the class's prior has them 1 % apart, and no less likely 3 %. So q(0.995) is
    the larger, beyond M: the margin cannot be told from noise. q(0.8) comes on top.
    """
    project.perf_tests()
    text = _text(project.run("--vllmperf-update", "-v", *workers))
    found = re.search(
        r"detects \(80 % of the time\): test_chat: output throughput ([\d.]+) % \* · .* · TPOT p50 ([\d.]+) % \*", text
    )
    assert found is not None
    throughput, tpot = map(float, found.groups())
    assert 6.0 <= throughput <= 8.5
    assert 6.0 <= tpot <= 8.5
    assert "* noise is still larger than the margin" in text


def test_once_for_all_it_is_said_what_the_run_can_tell(project: Project, workers: list[str]) -> None:
    """The first recording knows no stored check: what counts is what it has recorded itself."""
    project.perf_tests("test_a", "test_b", "test_c")
    result = project.run("--vllmperf-update", *workers)
    text = _text(result)
    assert text.count("This run gates 12 metrics; the more it gates, the more evidence each needs.") == 1
    assert re.search(r"baselines detect \(80 % of the time\): [\d.]+ % \(output throughput\) to [\d.]+ %", text)
    assert "To test the margin of 5 % they need" in text
    summary = result.outlines[
        next(n for n, line in enumerate(result.outlines) if line.startswith("Smallest slowdown these baselines")) :
    ]
    assert max(map(len, summary)) <= 80


def test_the_more_metrics_a_run_gates_the_larger_the_slowdown_that_it_finds(project: Project) -> None:
    """What a suite can tell is said when it is recorded for the first time."""
    found = []
    for names in (["test_a"], [f"test_{number}" for number in range(20)]):
        project.perf_tests(*names)
        text = _text(project.run("--vllmperf-update"))
        found.append(float(text.partition("these baselines detect (80 % of the time): ")[2].split()[0]))
    assert found[0] < 0.95 * found[1]


def test_what_is_said_is_what_is_found(project: Project) -> None:
    """4 % is within the margin of every metric; 8 % is beyond what is said of TPOT, and simulated engines are quiet."""
    project.perf_tests()
    text = _text(project.run("--vllmperf-update", "-v"))
    said = max(float(found) for found in re.findall(r"p50 ([\d.]+) %", text))
    assert 5 < said < 8
    for step_seconds, outcome in ((0.0104, "passed"), (0.0108, "failed")):
        project.perf_tests(step_seconds=step_seconds)
        project.run("--vllmperf").assert_outcomes(**{outcome: 1})


def test_a_margin_that_can_be_tested_needs_no_advice(project: Project) -> None:
    """M, 0.223, is far beyond what noise explains: throughput is found at M + q(0.8), some 0.01 more."""
    project.perf_tests(marks=["@pytest.mark.vllmperf(margin=0.2)"])
    text = _text(project.run("--vllmperf-update", "-v"))
    assert ": output throughput 21 % ·" in text
    assert "larger than the margin" not in text
    assert "To test" not in text
    assert "--vllmperf-append" not in text


def test_more_sessions_find_less(project: Project) -> None:
    project.perf_tests()
    project.record()
    for _ in range(4):
        text = _text(project.run("--vllmperf-append", "-v"))
    assert ": output throughput 5." in text
    assert "larger than the margin" not in text
    assert "To test" not in text


def test_counters_need_none(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='exact')"])
    assert "Smallest slowdown" not in _text(project.run("--vllmperf-update", "-v"))


def test_a_gate_says_nothing_of_it(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert "Smallest slowdown" not in _text(project.run("--vllmperf"))
