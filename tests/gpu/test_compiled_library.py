"""A process that loads NVML's library itself: the whole way through ctypes, in C's own layout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("fake_nvml.c")
MIB = 2**20
LONG = 60
"""Seconds that nothing here takes."""

DEVICES = """\
import json
from pytest_vllmperf import gpu

print(json.dumps([vars(device) for device in gpu.devices()]))
"""
SAMPLER = """\
import dataclasses, json, os, threading
from pytest_vllmperf.gpu import Sampler

with Sampler(["GPU-c0000001", "GPU-c0000002", "GPU-c0000003"], 500.0) as sampler:
    pause = threading.Event()
    assert any(len(sampler.traces()[0].readings) >= 8 or pause.wait(0.002) for _ in range(10_000))
print(json.dumps([os.getpid(), [dataclasses.asdict(trace) for trace in sampler.traces()]]))
"""

USE = """\
import json
from pytest_vllmperf.gpu.nvml import Nvml

with Nvml() as nvml:
    told = [nvml.process_samples(nvml.handle("GPU-c0000001"), since) for since in (0, 1999, 2000, 3000)]
    told.append(nvml.process_samples(nvml.handle("GPU-c0000002"), 0))
print(json.dumps([None if one is None else [[s.pid, s.timeStamp, s.smUtil] for s in one] for one in told]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a compiled libnvidia-ml.so.1."""
    folder = tmp_path_factory.mktemp("nvml")
    compiler = shutil.which("cc")
    assert compiler is not None, "this test needs a C compiler called cc, to build the library that it loads"
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def child(library: Path, program: str, **changed: str) -> Any:
    """What a process prints that finds this library."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(ROOT)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, **changed},
        cwd=library,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_devices_of_a_child(library: Path) -> None:
    h200, rtx4090 = child(library, DEVICES)
    assert h200 == {
        "uuid": "GPU-c0000001",
        "name": "NVIDIA H200",
        "total_bytes": 143771 * MIB,
        "compute_capability": [9, 0],
        "driver": "570.86.15",
        "cuda": "12.8",
        "mig": False,
        "power_limit": 700.0,
        "memory_bandwidth": 6144 / 8 * 3201e6 * 2,
        "flops": None,  # a driver without nvmlDeviceGetNumGpuCores
        "unusable": "",
    }
    assert (rtx4090["name"], rtx4090["compute_capability"]) == ("NVIDIA GeForce RTX 4090", [8, 9])


def test_visible_devices_of_a_child(library: Path) -> None:
    found = child(library, DEVICES, CUDA_VISIBLE_DEVICES="1")
    assert [device["uuid"] for device in found] == ["GPU-c0000002"]
    assert child(library, DEVICES, CUDA_VISIBLE_DEVICES="") == []


def test_a_child_without_the_library(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")  # before any that this machine has
    assert child(tmp_path, DEVICES) == []


def test_a_child_reads_use_by_process(library: Path) -> None:
    both = [[7, 2000, 31], [8, 3000, 60]]
    assert child(library, USE) == [both, both, both[1:], [], None]


def test_a_child_reads_devices_in_the_background(library: Path) -> None:
    pid, (h200, rtx4090, absent) = child(library, SAMPLER)
    first = h200["readings"][0]
    assert first == {
        "at": first["at"],
        "used_bytes": 7 * MIB,
        "processes": {str(pid): 7 * MIB, "1": None},
        "utilization": 0.97,
        "power": 700.0,
        "energy": 5_000_035.0,
        "sm_clock": 1.83e9,
        "memory_clock": 3.201e9,
        "temperature": 61,
        "clock_events": 4,
        "free_bytes": (143771 - 622) * MIB,
        "use_by_process": {},
    }
    assert [one["energy"] for one in h200["readings"]] == [
        5_000_000.0 + 35 * number for number in range(1, len(h200["readings"]) + 1)
    ]
    assert [one["at"] for one in h200["readings"]] == sorted({one["at"] for one in h200["readings"]})
    assert h200["lost"] is None
    assert (len(rtx4090["readings"]), rtx4090["lost"]) == (3, "the GPU is gone: GPU is lost")
    assert rtx4090["readings"][0]["energy"] is None
    assert (absent["readings"], absent["lost"]) == ([], "NVML does not find GPU GPU-c0000003")
