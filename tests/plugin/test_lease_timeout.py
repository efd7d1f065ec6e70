"""--vllmperf-lease-timeout: how long a test waits for a device that another run is measuring on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.lab.leases import CPU, Leases

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TEST = """
@pytest.mark.vllm("vllmperf:tiny")
def test_chat(vllmperf):
    vllmperf.measure(WORK)
"""
LINE = "waited {} s for cpu, which another run is measuring on; end that run, or raise"


@pytest.fixture(autouse=True)
def _another_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that measures on the processor as long as the test lasts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    other = Leases()
    assert other.take([CPU], 1) is not None
    yield
    other.release()


def test_the_test_fails_when_it_is_over(project: Project, workers: list[str]) -> None:
    project.module(TEST)
    result = project.run("--vllmperf", "--vllmperf-lease-timeout=0", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{LINE.format(0)}*--vllmperf-lease-timeout*"])


def test_ini(project: Project) -> None:
    project.ini("vllmperf_lease_timeout = 0.5")
    project.module(TEST)
    project.run("--vllmperf").stdout.fnmatch_lines([f"*{LINE.format(0.5)}*"])


@pytest.mark.parametrize("value", ["-1", "nan", "long"])
def test_impossible_option(project: Project, value: str) -> None:
    project.module(TEST)
    result = project.run("--vllmperf", f"--vllmperf-lease-timeout={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-lease-timeout: '{value}' is not a number of at least 0"])
