"""What tests of sessions have in common: devices that tell what a test scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.engines import simulated
from pytest_vllmperf.engines.backends import Backends
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.simulated import Script, SimulatedEngine
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import leases, measuring, slots
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.leases import Leases
from pytest_vllmperf.lab.release import ReleaseProof
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec

H200 = GpuDevice("GPU-1", "NVIDIA H200", 2**37, (9, 0), "565", memory_bandwidth=4.9e12)
A6000 = GpuDevice("GPU-2", "NVIDIA RTX A6000", 2**35, (8, 6), "565")
SECOND = replace(H200, uuid="GPU-3")
OWN = os.getpid()


class ScriptedNvml:
    """In NVML's place.

    Attributes:
        looks: what devices read, by UUID; the last one stays. A device that is not there cannot be read.
        traces: what samplers tell, by UUID; of others that nothing was read.
        start_traces: what samplers tell while an engine is started, by UUID.
        watched: the UUIDs that each sampler of a measurement was given.
        watching: whether one of them is at work.
    """

    def __init__(self) -> None:
        self.looks: dict[str, list[GpuReading | None]] = {}
        self.traces: dict[str, GpuTrace] = {}
        self.start_traces: dict[str, GpuTrace] = {}
        self.watched: list[tuple[str, ...]] = []
        self.watching = False

    def look(self, uuid: str) -> GpuReading | None:
        readings = self.looks.get(uuid, [None])
        return readings.pop(0) if len(readings) > 1 else readings[0]

    def sampler(self, uuids: Sequence[str]) -> ScriptedSampler:
        self.watched.append(tuple(uuids))
        return ScriptedSampler(self, uuids, self.traces)

    def start_sampler(self, uuids: Sequence[str]) -> ScriptedSampler:
        return ScriptedSampler(self, uuids, self.start_traces)


class ScriptedSampler(AbstractContextManager["ScriptedSampler"]):
    """Tells its traces once it has been left, when they are whole."""

    def __init__(self, nvml: ScriptedNvml, uuids: Sequence[str], told: Mapping[str, GpuTrace]) -> None:
        self.nvml, self.uuids, self.told = nvml, uuids, told

    def __enter__(self) -> ScriptedSampler:
        self.nvml.watching = True
        return self

    def __exit__(self, *_: object) -> None:
        self.nvml.watching = False

    def traces(self) -> tuple[GpuTrace, ...]:
        assert not self.nvml.watching
        return tuple(self.told.get(uuid, GpuTrace(uuid, ())) for uuid in self.uuids)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> ScriptedNvml:
    scripted = ScriptedNvml()
    monkeypatch.setattr(gpu, "look", scripted.look)
    monkeypatch.setattr(measuring, "Sampler", scripted.sampler)
    monkeypatch.setattr(slots, "Sampler", scripted.start_sampler)
    return scripted


class Told(list[str]):
    """What a person is told; `at` is called with what begins like its name."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, Any] = {}

    def __call__(self, doing: str, waited: float) -> None:
        self.append(doing)
        for beginning, act in self.at.items():
            if doing.startswith(beginning):
                act()


@pytest.fixture
def told() -> Told:
    return Told()


def open_session(folder: Path, progress: Progress) -> Lab:
    return Lab(Settings(Update.NONE, folder / "baselines", DEFAULTS, 30.0, 20.0), progress)


@pytest.fixture
def session(tmp_path: Path, told: Told, nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setattr(gpu, "devices", lambda: (H200, A6000))
    opened = open_session(tmp_path, told)
    yield opened
    opened.close()


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The label of every simulated engine that is started."""
    started: list[str] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        started.append(spec.label)
        return SimulatedEngine(spec, number)

    monkeypatch.setattr(simulated, "SimulatedEngine", start)
    return started


class RunningEngine(SimulatedEngine):
    """A simulated engine that has a process: this one."""

    @property
    def pid(self) -> int:
        return OWN


class RecordingLauncher:
    """Starts simulated engines in the place of real ones."""

    started: list[tuple[str, dict[str, str]]]
    timeouts: Timeouts
    closed = False

    def __init__(self, timeouts: Timeouts, backends: Backends) -> None:
        type(self).timeouts = timeouts
        type(self).started = []
        type(self).closed = False

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        progress("importing vLLM", 1.0)
        type(self).started.append((spec.model, dict(device_env)))
        script = {name: value for name, value in spec.args.items() if name in Script.__dataclass_fields__}
        return RunningEngine(EngineSpec.create(spec.model, backend="simulated", **script))

    def close(self) -> None:
        type(self).closed = True


class TakenError(Exception):
    pass


def is_free(device: str) -> bool:
    def give_up(doing: str, waited: float) -> None:
        raise TakenError

    other = Leases()
    try:
        other.choose([device], 1, give_up)
    except TakenError:
        return False
    other.release()
    return True


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: Told, nvml: ScriptedNvml) -> Iterator[Lab]:
    """A session whose engines are taken for real ones, and that gives memory no time to come back."""
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setattr(gpu, "devices", lambda: (H200, A6000, SECOND))
    monkeypatch.setattr(slots, "Launcher", RecordingLauncher)
    monkeypatch.setattr(slots, "ReleaseProof", partial(ReleaseProof, timeout=0.0))
    opened = open_session(tmp_path, told)
    yield opened
    opened.close()
