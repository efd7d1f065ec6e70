from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.harness.machine.device", lambda: "2 x NVIDIA H200")
    monkeypatch.setattr("pytest_vllmperf.harness.machine.driver", lambda: "570.86.15")
    monkeypatch.setattr("pytest_vllmperf.harness.machine.vllm_version", lambda: "0.32.0")


def _header(project: Project, *args: str) -> str:
    (line,) = [line for line in project.run(*args).outlines if line.startswith("vllmperf: ")]
    return line


def test_unarmed(project: Project) -> None:
    wanted = "vllmperf: not armed (--vllmperf), 2 x NVIDIA H200, driver 570.86.15, vLLM 0.32.0"
    assert _header(project) == wanted


@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-update", "--vllmperf-update-new"])
def test_armed(project: Project, flag: str) -> None:
    assert _header(project, flag) == "vllmperf: armed, 2 x NVIDIA H200, driver 570.86.15, vLLM 0.32.0"


def test_once_under_xdist(project: Project) -> None:
    project.write("test_plain.py", "def test_plain(): pass\n")
    assert _header(project, "-n", "2").startswith("vllmperf: not armed")


def test_without_driver_and_vllm(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.harness.machine.driver", lambda: None)
    monkeypatch.setattr("pytest_vllmperf.harness.machine.vllm_version", lambda: None)
    assert _header(project, "--vllmperf") == "vllmperf: armed, 2 x NVIDIA H200, vLLM not installed"


@pytest.mark.parametrize("flag", ["-q", "--no-header"])
def test_quiet(project: Project, flag: str) -> None:
    project.run(flag).stdout.no_fnmatch_line("vllmperf: *")
