"""--vllmperf-require-gpu: a test that finds no GPU fails instead of being skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.gpu import GpuDevice

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

H200 = GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1")
MARKED = ["@pytest.mark.gpu('RTX 4090', min_vram='16GiB')"]
FOUND = "--vllmperf-require-gpu: needs RTX 4090 with 16 GiB, found NVIDIA H200 with 141 GiB"
NONE = "--vllmperf-require-gpu: this machine has no GPU"


def _error(result: pytest.RunResult, line: str) -> None:
    """The one test is an error, told in this line and no other of the plugin's."""
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.outlines.count(line) == 1
    for trace in ("armed.py", "plugin.py", "requirement.py", "Traceback"):
        result.stdout.no_fnmatch_line(f"*{trace}*")


def test_a_gpu_that_does_not_fit_is_an_error(
    project: Project, gpus: Callable[..., None], workers: list[str], starts: list[str]
) -> None:
    gpus(H200)
    project.perf_tests(marks=MARKED)
    _error(project.run("--vllmperf", "--vllmperf-require-gpu", *workers), FOUND)
    assert starts == []


def test_no_gpu_at_all_is_an_error_without_a_marker_too(
    project: Project, gpus: Callable[..., None], workers: list[str], starts: list[str]
) -> None:
    gpus()
    project.perf_tests(check="pass")
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    starts.clear()
    _error(project.run("--vllmperf", "--vllmperf-require-gpu", *workers), NONE)
    assert starts == []


def test_the_ini_file_can_require_one(project: Project, gpus: Callable[..., None], workers: list[str]) -> None:
    gpus(H200)
    project.perf_tests(marks=MARKED)
    project.ini("vllmperf_require_gpu = true")
    _error(project.run("--vllmperf", *workers), FOUND)
    project.run("--vllmperf", "-o", "vllmperf_require_gpu=false", *workers).assert_outcomes(skipped=1)


def test_what_fits_runs(project: Project, gpus: Callable[..., None], workers: list[str]) -> None:
    gpus(H200)
    project.perf_tests("test_bare", check="pass")
    project.perf_tests("test_marked", module="test_marked.py", marks=["@pytest.mark.gpu('H200')"], check="pass")
    project.run("--vllmperf", "--vllmperf-require-gpu", *workers).assert_outcomes(passed=2)
    gpus()
    project.run("--vllmperf", "--vllmperf-require-gpu", *workers).assert_outcomes(errors=2)


def test_other_tests_and_other_skips_are_left_alone(
    project: Project, gpus: Callable[..., None], workers: list[str]
) -> None:
    gpus()
    project.perf_tests(marks=["@pytest.mark.skip"])
    project.write("test_plain.py", "def test_plain(): pass\n")
    project.run("--vllmperf", "--vllmperf-require-gpu", *workers).assert_outcomes(passed=1, skipped=1)


def test_unarmed_it_asks_for_nothing(project: Project, gpus: Callable[..., None]) -> None:
    gpus()
    project.perf_tests(marks=MARKED)
    result = project.run("--vllmperf-require-gpu")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.OK


def test_asked_for_while_the_test_runs(project: Project, gpus: Callable[..., None]) -> None:
    gpus()
    project.module("def test_late(request):\n    request.getfixturevalue('vllmperf')\n")
    result = project.run("--vllmperf", "--vllmperf-require-gpu")
    result.assert_outcomes(failed=1)
    assert NONE in result.outlines


def test_impossible_ini_setting(project: Project) -> None:
    project.ini("vllmperf_require_gpu = perhaps")
    project.perf_tests()
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = "ERROR: ini setting vllmperf_require_gpu: invalid truth value 'perhaps'; write true or false"
    assert [found for found in result.errlines if found] == [line]
