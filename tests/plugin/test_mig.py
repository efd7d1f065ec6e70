"""`@pytest.mark.gpu(mig=...)`: only parts of GPUs, only whole ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.gpu import GpuDevice

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

WHOLE = GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1")
PART = GpuDevice("MIG-1", "NVIDIA H200 MIG 1g.18gb", 16 * 2**30, (9, 0), "570.1", mig=True)
TESTS = """
pytestmark = pytest.mark.vllm("sim", backend="simulated")

@pytest.mark.parametrize("_", [
    pytest.param(0, marks=pytest.mark.gpu(), id="any"),
    pytest.param(0, marks=pytest.mark.gpu(mig=True), id="part"),
    pytest.param(0, marks=pytest.mark.gpu("H200", mig="1G.18GB"), id="named"),
    pytest.param(0, marks=pytest.mark.gpu(mig="3g"), id="other"),
    pytest.param(0, marks=pytest.mark.gpu(mig=False), id="whole"),
])
def test_it(vllmperf, _):
    vllmperf.measure(WORK)
"""


@pytest.mark.parametrize(
    ("device", "passed", "needs"),
    [
        (PART, {"any", "part", "named"}, ["a GPU (MIG devices 3g only)", "a GPU (whole GPUs only)"]),
        (
            WHOLE,
            {"any", "whole"},
            ["a GPU (MIG devices only)", "H200 (MIG devices 1G.18GB only)", "a GPU (MIG devices 3g only)"],
        ),
    ],
)
def test_what_does_not_fit_is_skipped(
    project: Project,
    gpus: Callable[..., None],
    workers: list[str],
    device: GpuDevice,
    passed: set[str],
    needs: list[str],
) -> None:
    gpus(device)
    project.module(TESTS)
    result = project.run("--vllmperf", "-rsp", "-vv", *workers)
    result.assert_outcomes(passed=len(passed), skipped=len(needs))
    for name in passed:
        assert f"PASSED test_chat.py::test_it[{name}]" in result.outlines
    for words in needs:
        assert any(line.endswith(f": needs {words}, found {device.name}") for line in result.outlines)
