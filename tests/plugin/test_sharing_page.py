"""docs/sharing.md: its example runs, and every argument that it names exists."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import VllmPerfSession
from pytest_vllmperf.gpu import GpuDevice

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

PAGE = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text(encoding="utf-8")


def test_the_example_runs(project: Project, gpus: Callable[..., None]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    gpus(GpuDevice("GPU-1", "NVIDIA H200", 2**37, (9, 0), "565"))
    simulated = '"sim", backend="simulated", prefill_seconds_per_token=0, '
    project.write("test_chat.py", example.replace('"Qwen/Qwen3-0.6B", ', simulated))
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.OK
    assert project.sessions("test_has_not_become_slower") == [3]
    project.run("--vllmperf").assert_outcomes(passed=3)


def test_every_method_and_argument_exists() -> None:
    calls = re.findall(r"^\| `vllmperf_session\.(\w+)\((.*?)\)`", PAGE, re.MULTILINE)
    public = [name for name in dir(VllmPerfSession) if not name.startswith("_")]
    assert sorted(name for name, _ in calls) == sorted(public)
    for name, arguments in calls:
        known = inspect.signature(getattr(VllmPerfSession, name)).parameters
        told = [one for one in re.findall(r"\w+", arguments) if one != "engine_args"]
        assert [one for one in told if one not in known] == []
