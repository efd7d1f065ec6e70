"""A process that has computed on the GPU since before the run voids what is measured beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_vllmperf import Workload, gpu
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement, Sampler
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.metrics.gpu_use import NEIGHBOUR_SHARE
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from tests.measuring import fresh_session

WORK = Workload.synthetic(requests=64, input_tokens=128, output_tokens=256)
SPEC = EngineSpec.create("vllmperf:qwen3-0.6b", gpu_memory_utilization=0.3, max_model_len=1024, enforce_eager=True)
SETTINGS = MeasureSettings(2, 8)

COMPUTES = """
import time, torch
a = torch.randn(4096, 4096, device="cuda")
torch.mm(a, a)
torch.cuda.synchronize()
print("ready", flush=True)
begins = time.monotonic()
while True:
    torch.mm(a, a)
    torch.cuda.synchronize()
    begins += 0.004
    time.sleep(max(0.0, begins - time.monotonic()))
"""
HOLDS = """
import sys, torch
a = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def neighbour(program: str, gpus: str | None = None) -> Iterator[int]:
    """A process on the first GPU that it sees, at work or idle; its number.

    Args:
        program: says when it is ready.
        gpus: that it sees; None for those that this process sees.
    """
    seen = {**os.environ, **({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus})}
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True, env=seen) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def measured(perf: Lab, *allowed: str) -> Measurement:
    return perf.measure(perf.target(SPEC, GpuRequirement()), WORK, SETTINGS, allowed)


def evidence(run: Measurement) -> str:
    """What NVML reported, for the text of a failure."""
    return "\n".join(
        f"{one.at:.2f} s: {dict(one.use_by_process)}"
        for trace in run.traces
        for one in trace.readings
        if one.use_by_process is not None
    )


def test_a_process_that_computed_since_before_the_run_voids_a_measurement(tmp_path: Path, device: GpuDevice) -> None:
    with neighbour(COMPUTES) as pid, fresh_session(tmp_path) as perf:
        run = measured(perf)
        assert [problem for problem in run.problems if problem.rule == "processes"], evidence(run)
        assert run.transient
        by_process = [problem for problem in run.problems if problem.words.startswith(f"process {pid} of another run")]
        busy = [problem for problem in run.problems if problem.words.startswith("another run's process kept the GPU ")]
        assert by_process or busy, (run.problems, evidence(run))
        assert not [problem for problem in measured(perf, "processes").problems if problem.rule == "processes"]


def test_a_process_that_only_holds_memory_voids_nothing(tmp_path: Path, device: GpuDevice) -> None:
    with neighbour(HOLDS), fresh_session(tmp_path) as perf:
        run = measured(perf)
        assert run.problems == (), evidence(run)


def test_nvml_tells_who_uses_the_gpu(device: GpuDevice) -> None:
    """Share and number of a process that computes alone; skipped where NVML hides either, as some containers do."""
    with neighbour(COMPUTES) as pid, Sampler([device.uuid]) as sampler:
        threading.Event().wait(6.0)
    (trace,) = sampler.traces()
    told = [one.use_by_process for one in trace.readings if one.use_by_process]
    if not told or not any(pid in shares for shares in told):
        reading = gpu.look(device.uuid)
        pytest.skip(f"NVML tells no use of process {pid} here: {told}, {reading and reading.processes}")
    assert max(shares.get(pid, 0.0) for shares in told) >= NEIGHBOUR_SHARE
