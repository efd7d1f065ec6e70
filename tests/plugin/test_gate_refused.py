"""A gate that can never be judged is refused before anything is recorded, with what would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ("ttft.p99", "TTFT p99 needs at least 2,000 requests to be gated; this workload has 4. Gate ttft.p50, or*"),
        ("ttft.p50 ttft.p95", "TTFT p95 needs at least 500 requests to be gated; this workload has 4.*"),
        ("energy", "energy per output token was not measured on simulated. Leave energy out of the gate; measured*"),
        ("clock gpu_power", "GPU power was not measured on simulated. Leave gpu_power out of the gate"),
        ("load_time.cold", "load: cold start cannot be gated, because it depends on caches. Gate load_time"),
    ],
)
@pytest.mark.parametrize("flag", ["--vllmperf-update", "--vllmperf"])
def test_refused(project: Project, starts: list[str], gate: str, reason: str, flag: str) -> None:
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(gate={gate!r})"])
    result = project.run(flag)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"test_chat: the gate cannot be judged: {reason}"])
    assert len(starts) == 1, "no further engine is started for it"
    assert project.files() == {}


def test_of_a_set_one_measured_metric_is_enough(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="vllmperf.check(run, gate='exact')")
    project.record(*workers)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)


def test_a_load_time_is_recorded_on_as_many_warm_starts(project: Project, starts: list[str]) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='load_time')"])
    project.record()
    assert project.sessions() == [4], "the first start is cold and does not count"
    project.run("--vllmperf").assert_outcomes(passed=1)
