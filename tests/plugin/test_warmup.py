from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _discarded(project: Project) -> int:
    engine = project.engine()
    assert len(engine["samples"]["output_throughput"]) == 10
    return len(engine["warmup"].get("output_throughput", ()))


def test_default(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert _discarded(project) == 2


def test_option(project: Project) -> None:
    project.perf_tests()
    project.record("--vllmperf-warmup", "4")
    assert _discarded(project) == 4


def test_none_at_all(project: Project) -> None:
    project.perf_tests()
    project.record("--vllmperf-warmup", "0")
    assert _discarded(project) == 0
    project.run("--vllmperf", "--vllmperf-warmup", "0").assert_outcomes(passed=1)


def test_ini_option_marker_call(project: Project) -> None:
    project.ini("vllmperf_warmup = 3")
    project.perf_tests()
    project.record()
    assert _discarded(project) == 3
    project.record("--vllmperf-warmup=4")
    assert _discarded(project) == 4
    mark = "@pytest.mark.vllmperf(warmup=0)"
    project.perf_tests(marks=[mark])
    project.record("--vllmperf-warmup=4")
    assert _discarded(project) == 0
    project.perf_tests(marks=[mark], check="vllmperf.check(vllmperf.measure(WORK, warmup=1))")
    project.record("--vllmperf-warmup=4")
    assert _discarded(project) == 1


@pytest.mark.parametrize("value", ["-1", "0.5", "some"])
def test_impossible_option(project: Project, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-warmup={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-warmup: '{value}' is not a whole number of at least 0"])
