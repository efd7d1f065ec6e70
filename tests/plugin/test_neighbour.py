"""Who else computes on the GPU while an engine is measured: a neighbour voids a check, a desktop does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.gpu import GpuDevice

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

H200 = GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1")

# A simulated engine in the place of vLLM, on a GPU whose readings are scripted: process 7 was there before, holds
# memory, and uses the share that stands for SHARE; NUMBER is what NVML calls the engine's process.
SCRIPTED = """
import os
from contextlib import nullcontext

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import measuring, slots
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.spec import EngineSpec

ENGINE = os.getpid()

class Engine(SimulatedEngine):
    pid = ENGINE

class Launcher:
    def __init__(self, timeouts, backends):
        pass

    def start(self, spec, device_env, progress):
        return Engine(EngineSpec.create(spec.model, backend="simulated", step_seconds=0.5))

    def close(self):
        pass

def reading(at):
    held = {{7: 2**30, ENGINE: 2**36}}
    return GpuReading(at, 2**37, held, use_by_process={{ENGINE + {number}: 0.9, 7: {share}}})

class Sampler(nullcontext):
    def __init__(self, uuids):
        super().__init__(self)

    def traces(self):
        return (GpuTrace("GPU-1", tuple(reading(float(at)) for at in range(100))),)

gpu.devices = lambda: ({device!r},)
gpu.look = lambda uuid: GpuReading(0.0, 2**30, {{7: 2**30}}, utilization={before})
slots.Launcher, measuring.Sampler = Launcher, Sampler
"""
TESTS = """
{mark}
@pytest.mark.vllm("some/model", max_model_len=64)
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
"""


def scripted(project: Project, *, share: float, before: float = 0.0, number: int = 0, mark: str = "") -> None:
    project.write("conftest.py", SCRIPTED.format(device=H200, share=share, before=before, number=number))
    project.module(TESTS.format(mark=mark))


def test_a_neighbour_voids_a_check(project: Project, workers: list[str]) -> None:
    scripted(project, share=0.31)
    result = project.run_apart("--vllmperf-update", *workers)
    result.assert_outcomes(failed=1)
    line = (
        "INVALID  test_chat: process 7 of another run used 31% of the GPU's time; end it, or accept it "
        'with allow="processes" [processes]'
    )
    assert any(found.startswith(line) for found in result.outlines)
    assert project.files() == {}


def test_a_neighbour_that_is_accepted(project: Project) -> None:
    scripted(project, share=0.31, mark='@pytest.mark.vllmperf(allow="processes")')
    project.run_apart("--vllmperf-update").assert_outcomes(passed=1)


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_desktop_that_holds_memory_but_hardly_computes_voids_nothing(project: Project, share: float) -> None:
    scripted(project, share=share, before=0.3)
    project.run_apart("--vllmperf-update").assert_outcomes(passed=1)


@pytest.mark.parametrize(("before", "outcome"), [(0.0, "passed"), (0.67, "failed")])
def test_where_processes_bear_other_numbers_the_use_before_the_engine_decides(
    project: Project, before: float, outcome: str
) -> None:
    scripted(project, share=0.31, before=before, number=1)
    result = project.run_apart("--vllmperf-update")
    result.assert_outcomes(**{outcome: 1})
    told = [
        line
        for line in result.outlines
        if "another run's process kept the GPU 67% busy before the engine was started" in line
    ]
    assert bool(told) is (outcome == "failed")
