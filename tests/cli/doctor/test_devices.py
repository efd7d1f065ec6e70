"""GPUs as NVML tells them, what is in the way of a test, and leases."""

from __future__ import annotations

import os
from pathlib import Path

import pynvml
import pytest

from pytest_vllmperf.cli.doctor import devices
from pytest_vllmperf.cli.doctor.finding import Finding, State
from pytest_vllmperf.lab.leases import VARIABLE, Leases
from tests.gpu.fake_nvml import FakeGpu, FakeNvml, FakePart

GIB = 2**30


def gpus() -> list[Finding]:
    return list(devices.gpus(devices.look()))


def test_an_idle_gpu_is_one_line(nvml: FakeNvml) -> None:
    (one,) = gpus()
    assert one.state is State.FINE
    assert one.text == "NVIDIA H200, 140 GiB, 140 GiB free, compute capability 9.0, compute mode: shared"
    assert (one.data["usable"], one.data["processes"], one.data["mig"]) == (True, 0, False)
    assert [told.text for told in devices.driver(devices.look())] == ["565.57.01, runs CUDA up to 12.7"]


def test_processes_and_used_memory_are_told(nvml: FakeNvml) -> None:
    nvml.gpus[0].computing = {os.getpid(): 100 * GIB, 2**22 + 1: None}
    nvml.gpus[0].used = 100 * GIB
    gpu, processes, memory = gpus()
    assert gpu.state is State.FINE
    assert f"{os.getpid()} (" in processes.text
    assert ") 100.0 GiB, 4194305" in processes.text
    assert processes.data == {"pids": [os.getpid(), 2**22 + 1]}
    assert memory.text == "only 28% of it is free"
    assert {processes.state, memory.state} == {State.WARNING}


@pytest.mark.parametrize(
    ("gpu", "text", "remedy"),
    [
        (FakeGpu(compute_mode=pynvml.NVML_COMPUTEMODE_PROHIBITED), "compute mode forbids", "nvidia-smi -c DEFAULT"),
        (FakeGpu(name="Tesla P100", compute=(6, 0)), "compute capability is below 7.0", ""),
        (FakeGpu(lost=True), "the GPU is gone", ""),
        (FakeGpu(forbidden=True), "NVML cannot read the GPUs", ""),
    ],
)
def test_a_gpu_that_cannot_be_used_says_why(nvml: FakeNvml, gpu: FakeGpu, text: str, remedy: str) -> None:
    nvml.gpus[:] = [gpu]
    (one,) = gpus()
    assert one.state is State.WARNING
    assert text in one.text
    assert remedy in one.remedy
    assert not devices.look().usable


def test_a_hidden_gpu_is_told_apart_from_one_that_is_shown(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.gpus[:] = [FakeGpu(uuid="GPU-a"), FakeGpu(uuid="GPU-b", compute_mode=None)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    first, second = gpus()
    assert (first.state, "hides it" in first.text, "CUDA_VISIBLE_DEVICES" in first.remedy) == (
        State.WARNING,
        True,
        True,
    )
    assert second.state is State.FINE
    assert "compute mode" not in second.text  # a driver that does not tell
    assert [one.device.uuid for one in devices.look().usable] == ["GPU-b"]


def test_the_gpu_with_the_most_free_memory_comes_first(nvml: FakeNvml) -> None:
    nvml.gpus[:] = [FakeGpu(uuid="GPU-a", used=50 * GIB), FakeGpu(uuid="GPU-b")]
    assert [one.device.uuid for one in devices.look().usable] == ["GPU-b", "GPU-a"]


def test_a_mig_device_is_called_one(nvml: FakeNvml) -> None:
    nvml.gpus[:] = [FakeGpu(mig=True, parts=[FakePart()])]
    (one,) = gpus()
    assert "NVIDIA H200 MIG 1g.18gb, 16 GiB" in one.text
    assert "a MIG device" in one.text
    assert one.data["mig"] is True


@pytest.mark.usefixtures("no_library")
def test_no_driver_is_no_fault() -> None:
    seen = devices.look()
    (one,) = devices.driver(seen)
    assert one.state is State.ABSENT
    assert not gpus()


def test_a_driver_that_does_not_work_is_a_warning(nvml: FakeNvml) -> None:
    nvml.fail("nvmlInitWithFlags", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    (one,) = devices.driver(devices.look())
    assert one.state is State.WARNING
    assert "reboot" in one.text


def test_a_driver_without_gpus_is_a_warning(nvml: FakeNvml) -> None:
    nvml.gpus.clear()
    (one,) = devices.driver(devices.look())
    assert (one.state, "--gpus all" in one.remedy) == (State.WARNING, True)


def test_a_lease_tells_its_holder(nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert [one.state for one in devices.leases(devices.look())] == [State.FINE]
    held = Leases()
    held.take([nvml.gpus[0].uuid], 1)
    (one,) = devices.leases(devices.look())
    held.release()
    assert (one.name, one.state, one.data["pid"]) == ("lease on GPU 0", State.WARNING, os.getpid())
    assert f"held by process {os.getpid()} of " in one.text


def test_a_folder_of_locks_that_cannot_be_written_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere" / "locks"))
    (one,) = devices.leases(devices.Gpus())
    assert one.state is State.BLOCKS
    assert VARIABLE in one.remedy
