from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.backends import Backends
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.records.engine import Timeouts

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

NAMES = ("start-timeout", "operation-timeout")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Timeouts]:
    """The time-outs that launchers were made with."""
    seen: list[Timeouts] = []

    def launcher(timeouts: Timeouts, backends: Backends) -> Launcher:
        seen.append(timeouts)
        return Launcher(timeouts, backends)

    monkeypatch.setattr("pytest_vllmperf.lab.slots.Launcher", launcher)
    return seen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf", ""])
def test_impossible_option(project: Project, name: str, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-{name}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-{name}: '{value}' is not a number above 0"])


@pytest.mark.parametrize("name", NAMES)
def test_impossible_ini(project: Project, name: str) -> None:
    setting = f"vllmperf_{name.replace('-', '_')}"
    project.ini(f"{setting} = 10 minutes")
    project.perf_tests()
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini setting {setting}: '10 minutes' is not a number above 0"])


def test_impossible_option_under_xdist_is_one_usage_error(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", "--vllmperf-start-timeout=soon", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --vllmperf-start-timeout: 'soon' is not a number above 0"])


def test_default(project: Project, given: list[Timeouts]) -> None:
    project.perf_tests()
    project.record()
    assert [(timeouts.start, timeouts.operation) for timeouts in given] == [(900.0, 600.0)]


def test_option_over_ini(project: Project, given: list[Timeouts]) -> None:
    project.ini("vllmperf_start_timeout = 30", "vllmperf_operation_timeout = 2.5")
    project.perf_tests()
    project.record("--vllmperf-start-timeout", "60")
    assert [(timeouts.start, timeouts.operation) for timeouts in given] == [(60.0, 2.5)]
