"""The more metrics a run gates, the surer each REGRESSED has to be: a_fail = min(.005, .05 / (2.5 metrics))."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _confidence(project: Project, *args: str) -> list[str]:
    text = " ".join(line.strip() for line in project.run("--vllmperf", *args).outlines)
    return re.findall(r"against \d+ in 1 session · ([\d.]+) % CI", text)


def _many(project: Project, count: int) -> None:
    project.perf_tests(*(f"test_{number}" for number in range(count)))


def test_few_metrics_have_the_usual_interval(project: Project) -> None:
    _many(project, 1)  # four gated metrics: .05 / 10
    project.record()
    project.perf_tests("test_0", step_seconds=0.02)
    assert set(_confidence(project)) == {"99"}


def test_many_metrics_have_a_wider_one(project: Project, workers: list[str]) -> None:
    _many(project, 5)  # of four gated metrics each: .05 / 50
    project.record()
    project.perf_tests(*(f"test_{number}" for number in range(5)), step_seconds=0.02)
    assert set(_confidence(project, *workers)) == {"99.8"}
    assert set(_confidence(project, "-k", "test_0")) == {"99"}, "only what runs counts"


def test_counters_do_not_count(project: Project) -> None:
    marks = ["@pytest.mark.vllmperf(gate=['exact', 'tpot.p50'])"]
    names = [f"test_{number}" for number in range(4)]
    project.perf_tests(*names, marks=marks)
    project.record("--vllmperf-engines=3")
    project.perf_tests(*names, marks=marks, step_seconds=0.02)
    assert set(_confidence(project)) == {"99"}
