"""--vllmperf-gpu-hour-price: read and checked before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TEST = """
from pytest_vllmperf.harness import options

def test_price(vllmperf, pytestconfig):
    assert options.settings(pytestconfig).gpu_hour_price == {price!r}
"""


def test_flag_over_ini_over_none(project: Project, workers: list[str]) -> None:
    project.module(TEST.format(price=None))
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    project.ini("vllmperf_gpu_hour_price = 2.49")
    project.module(TEST.format(price=2.49))
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    project.module(TEST.format(price=0.5))
    project.run("--vllmperf", "--vllmperf-gpu-hour-price=.5", *workers).assert_outcomes(passed=1)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "free", ""])
def test_impossible_option(project: Project, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-gpu-hour-price={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = f"ERROR: --vllmperf-gpu-hour-price: {value!r} is not a number above 0"
    assert [found for found in result.errlines if found] == [line]


def test_impossible_ini_setting(project: Project) -> None:
    project.ini("vllmperf_gpu_hour_price = $2")
    project.perf_tests()
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = "ERROR: ini setting vllmperf_gpu_hour_price: '$2' is not a number above 0"
    assert [found for found in result.errlines if found] == [line]
