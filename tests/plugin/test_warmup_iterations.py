"""How many iterations are discarded, and how many count."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

Count = Callable[["Project"], int]


def _discarded(project: Project) -> int:
    engine = project.engine()
    assert engine["discarded"] == len(engine["warmup"].get("output_throughput", ()))
    return int(engine["discarded"])


def _counted(project: Project) -> int:
    engine = project.engine()
    assert engine["iterations"] == len(engine["samples"]["output_throughput"])
    return int(engine["iterations"])


SETTINGS = [pytest.param("warmup", _discarded, id="warmup"), pytest.param("iterations", _counted, id="iterations")]


def test_defaults(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record(*workers)
    assert (_discarded(project), _counted(project)) == (2, 10)


@pytest.mark.parametrize(("setting", "count"), SETTINGS)
def test_call_over_marker_over_option_over_ini(project: Project, setting: str, count: Count) -> None:
    project.ini(f"vllmperf_{setting} = 3")
    project.perf_tests()
    project.record()
    assert count(project) == 3
    project.record(f"--vllmperf-{setting}=4")
    assert count(project) == 4
    mark = f"@pytest.mark.vllmperf({setting}=5)"
    project.perf_tests(marks=[mark])
    project.record(f"--vllmperf-{setting}=4")
    assert count(project) == 5
    project.perf_tests(marks=[mark], check=f"vllmperf.check(vllmperf.measure(WORK, {setting}=6))")
    project.record(f"--vllmperf-{setting}=4")
    assert count(project) == 6


def test_no_warm_up_at_all(project: Project) -> None:
    project.perf_tests()
    project.record("--vllmperf-warmup", "0")
    assert _discarded(project) == 0
    project.run("--vllmperf", "--vllmperf-warmup", "0").assert_outcomes(passed=1)


def test_by_rule_an_unsteady_engine_warms_up_for_longer(project: Project) -> None:
    project.perf_tests(noise=0.3)
    project.record()
    assert 2 < _discarded(project) <= 8


def test_auto_over_a_number(project: Project) -> None:
    project.ini("vllmperf_warmup = 5")
    project.perf_tests()
    project.record("--vllmperf-warmup=auto")
    assert _discarded(project) == 2
    project.perf_tests(marks=["@pytest.mark.vllmperf(warmup='auto')"])
    project.record()
    assert _discarded(project) == 2


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        *(("iterations", value, "a whole number of at least 1") for value in ("0", "-1", "2.5", "many", "", "nan")),
        *(("warmup", value, "a whole number of at least 0, nor 'auto'") for value in ("-1", "0.5", "some")),
    ],
)
def test_impossible(project: Project, setting: str, value: str, wanted: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-{setting}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-{setting}: '{value}' is not {wanted}"])
    if value:
        project.ini(f"vllmperf_{setting} = {value}")
        result = project.run("--vllmperf")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: ini setting vllmperf_{setting}: '{value}' is not {wanted}"])


def test_impossible_call_fails_the_test_in_one_line(project: Project) -> None:
    project.perf_tests(check="vllmperf.measure(WORK, iterations=0)")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["iterations: 0 is not a whole number of at least 1"])
    result.stdout.no_fnmatch_line("*options.py*")
