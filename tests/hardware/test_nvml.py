"""What NVML counts is what a process does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuDevice, Sampler
from pytest_vllmperf.metrics.gpu_use import energy, use

MIB, GIB = 2**20, 2**30
CHILD = """
import sys, torch
held = [torch.zeros(1, device="cuda")]
torch.cuda.synchronize()
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "take":
        held.append(torch.zeros(int(words[1]), dtype=torch.uint8, device="cuda"))
    elif words[0] == "work":
        a = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
        for _ in range(int(words[1])):
            a = (a @ a).clamp(-1, 1)
    torch.cuda.synchronize()
    print("done", flush=True)
"""


class Child:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        assert self._line() == "done"


@contextmanager
def child() -> Iterator[Child]:
    """A process that holds memory of the first GPU, and works when told to."""
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=-1, stdout=-1, text=True) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


def held(pid: int, device: GpuDevice) -> int:
    reading = gpu.look(device.uuid)
    assert reading is not None
    found = gpu.held_by({pid}, [reading])
    assert found is not None, "NVML shows no process here: the host's ids are hidden from this container"
    return found


@pytest.mark.parametrize("size", [GIB, 3 * GIB])
def test_a_process_holds_what_it_took(device: GpuDevice, size: int) -> None:
    with child() as process:
        before, used = held(process.process.pid, device), gpu.look(device.uuid)
        process.tell(f"take {size}")
        after = gpu.look(device.uuid)
        assert abs(held(process.process.pid, device) - before - size) <= 64 * MIB
        assert used is not None
        assert used.used_bytes is not None
        assert after is not None
        assert after.used_bytes is not None
        assert abs(after.used_bytes - used.used_bytes - size) <= 64 * MIB


def test_memory_of_a_killed_process_comes_back(device: GpuDevice) -> None:
    before = gpu.look(device.uuid)
    with child() as process:
        process.tell(f"take {2 * GIB}")
    after = gpu.look(device.uuid)
    assert before is not None
    assert before.used_bytes is not None
    assert after is not None
    assert after.used_bytes is not None
    assert abs(after.used_bytes - before.used_bytes) <= 64 * MIB


def test_an_idle_gpu_holds_nothing(device: GpuDevice) -> None:
    """Version 1 of NVML's structure would show hundreds of MiB that the driver reserves."""
    reading = gpu.look(device.uuid)
    assert reading is not None
    assert reading.used_bytes is not None
    assert reading.used_bytes <= 64 * MIB or reading.processes


def test_work_takes_energy_and_shows_in_a_trace(device: GpuDevice) -> None:
    with child() as process, Sampler([device.uuid]) as sampler:
        process.tell("work 50")
        process.tell("work 3000")
    (trace,) = sampler.traces()
    assert trace.lost is None
    begin, end = trace.readings[0].at, trace.readings[-1].at
    middle = (begin + 0.4 * (end - begin), begin + 0.9 * (end - begin))
    busy = use([trace], middle)
    assert busy is not None
    assert busy.power is not None
    assert busy.utilization is not None
    assert busy.utilization > 0.5
    taken = energy(trace, middle)
    assert taken is not None
    assert taken == pytest.approx(busy.power * (middle[1] - middle[0]), rel=0.15)
    assert busy.sm_clock is not None
    assert busy.sm_clock > 3e8
    assert busy.temperature is not None
    assert 15 < busy.temperature < 100


def test_bandwidth_and_limits_are_told(device: GpuDevice) -> None:
    assert device.memory_bandwidth is not None
    assert 1e11 < device.memory_bandwidth < 2e13
    assert device.power_limit is not None
    assert device.power_limit > 30
    assert device.cuda
