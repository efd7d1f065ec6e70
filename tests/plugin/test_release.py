from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LEAK = """
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.lab.lab import Lab

def release(self):
    raise EngineError("58,000 MiB of GPU-1 are still allocated: process 42 holds 58,000 MiB")

Lab.release = release
"""


def test_memory_that_does_not_come_back_fails_the_run(project: Project, workers: list[str]) -> None:
    project.write("conftest.py", LEAK)
    project.perf_tests("test_one", "test_two", check="run.output_throughput")
    result = project.run_apart("--vllmperf", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2)
    told = [line for line in result.outlines if line.startswith("ERROR: 58,000 MiB of GPU-1 are still allocated")]
    assert told == ["ERROR: 58,000 MiB of GPU-1 are still allocated: process 42 holds 58,000 MiB"]


def test_a_run_whose_memory_comes_back_is_green(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_one", check="run.output_throughput")
    assert project.run_apart("--vllmperf", *workers).ret == pytest.ExitCode.OK
