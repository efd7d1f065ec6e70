"""A failed assertion about a measurement reads in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _errors(project: Project, check: str) -> list[str]:
    project.perf_tests(check=check)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    return [line for line in result.outlines if line.startswith("E ")]


def test_a_distribution(project: Project) -> None:
    lines = _errors(project, "assert run.ttft.p50 < 0.001")
    assert len(lines) == 3
    assert lines[0].startswith("E       assert 0.01")
    assert "= <ttft p50=13.2 ms p99=" in lines[1]
    assert lines[1].endswith(".p50")
    assert "= <Measurement sim " in lines[2]
    assert lines[2].endswith(" tok/s>.ttft")
    assert len("".join(lines)) < 400


def test_a_metric(project: Project) -> None:
    lines = _errors(project, "assert run.output_throughput > 1e9")
    assert len(lines) == 2
    assert lines[1].endswith(" tok/s>.output_throughput")


@pytest.mark.parametrize(
    ("asserted", "said"),
    [
        (
            "run.throughput > 1",
            "AttributeError: a measurement has no metric 'throughput'; did you mean 'output_throughput'?",
        ),
        ("run.ttft.p5 < 1", "AttributeError: ttft has mean, p50, p90, p95, p99, not p5; did you mean 'ttft.p50'?"),
    ],
)
def test_a_wrong_name(project: Project, asserted: str, said: str) -> None:
    assert _errors(project, f"assert {asserted}") == [f"E       {said}"]


def test_a_wrong_name_of_a_value(project: Project) -> None:
    project.perf_tests(check="run.value('ttft.p5O')")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no metric has the name 'ttft.p5O'; did you mean 'ttft.p50'?"])


def test_the_fixture_has_a_type_to_annotate_with(project: Project) -> None:
    project.module(
        "from pytest_vllmperf import Measurement, VllmPerf\n"
        '@pytest.mark.vllm("sim", backend="simulated")\n'
        "def test_chat(vllmperf: VllmPerf) -> None:\n"
        "    assert isinstance(vllmperf, VllmPerf)\n"
        "    assert isinstance(vllmperf.measure(WORK), Measurement)\n"
    )
    project.run("--vllmperf").assert_outcomes(passed=1)
