"""What an engine may take, of a GPU and of a machine or container."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.devices import GpuReading
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep import room
from pytest_vllmperf.sweep.room import Room, look

from .conftest import CARD, ON_GPUS

MIB, GIB = 2**20, 2**30


class _Memory(NamedTuple):
    total: int
    available: int


def test_what_may_be_taken_is_what_is_free_less_what_stays() -> None:
    here = Room("the card", 8 * GIB, 2 * GIB, GIB)
    assert here.may_take == GIB
    assert here.refused(GIB) == ""
    assert here.refused(GIB + MIB) == (
        "it would leave other processes 1,023 MiB of the card, less than the 1,024 MiB that stay free; "
        "2,048 MiB are free now"
    )
    assert here.overdrawn == ""
    assert Room("the card", 8 * GIB, GIB - MIB, GIB).overdrawn == (
        "1,023 MiB of the card stayed free for others, less than 1,024 MiB"
    )


@pytest.mark.parametrize(
    ("reading", "free"),
    [
        (GpuReading(0.0, GIB, {}, free_bytes=6 * GIB), 6 * GIB),
        (GpuReading(0.0, GIB, {}), 7 * GIB),
        (GpuReading(0.0), None),
        (None, None),
    ],
)
def test_of_a_gpu(reading: GpuReading | None, free: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "look", lambda uuid: reading)
    seen = look(Target(EngineSpec.create("sim", backend="simulated"), (CARD,), ON_GPUS), 0)
    assert (seen and seen.free_bytes) == free


def test_of_a_machine_and_of_a_container_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    monkeypatch.setattr(room.psutil, "virtual_memory", lambda: _Memory(16 * GIB, 9 * GIB))
    target = Target(EngineSpec.create("sim"))
    assert look(target, GIB) == Room("this machine's memory", 16 * GIB, 9 * GIB, GIB)
    for name, text in (("current", f"{3 * GIB}"), ("stat", f"anon 5\ninactive_file {GIB}"), ("max", "max")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    assert look(target, GIB) == Room("this machine's memory", 16 * GIB, 9 * GIB, GIB)
    (tmp_path / "memory.max").write_text(f"{4 * GIB}\n")
    assert look(target, GIB) == Room("this machine's memory", 4 * GIB, 2 * GIB, GIB)


def test_an_engine_without_hardware_takes_none() -> None:
    assert look(Target(EngineSpec.create("sim", backend="simulated")), 0) is None
