"""How much memory an engine may take without taking the last of it from other processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.target import Target

_CGROUP = Path("/sys/fs/cgroup")
_MIB = 2**20


@dataclass(frozen=True)
class Room:
    """The memory of a GPU or of the machine.

    Attributes:
        where: what has it, for a person.
        total_bytes: all of it.
        free_bytes: what nobody uses.
        leave_bytes: what has to stay free for others.
    """

    where: str
    total_bytes: int
    free_bytes: int
    leave_bytes: int

    @property
    def may_take(self) -> int:
        """Bytes that an engine may take."""
        return max(0, self.free_bytes - self.leave_bytes)

    def refused(self, wanted: int) -> str:
        """Why an engine may not take so many bytes; empty where it may."""
        if wanted <= self.may_take:
            return ""
        return (
            f"it would leave other processes {_mib(max(0, self.free_bytes - wanted))} of {self.where}, less than the "
            f"{_mib(self.leave_bytes)} that stay free; {_mib(self.free_bytes)} are free now"
        )

    @property
    def overdrawn(self) -> str:
        """Why what is free now, while an engine runs, is too little; empty where it is enough."""
        if self.free_bytes >= self.leave_bytes:
            return ""
        return f"{_mib(self.free_bytes)} of {self.where} stayed free for others, less than {_mib(self.leave_bytes)}"


def look(target: Target, leave_bytes: int) -> Room | None:
    """The memory that an engine takes, as it is now; of several GPUs the fullest.

    None where nobody can tell, and for an engine that runs on no hardware.
    """
    if target.gpus:
        rooms = [room for device in target.gpus if (room := _of_gpu(device, leave_bytes)) is not None]
        return min(rooms, key=lambda room: room.may_take / room.total_bytes, default=None)
    return _of_machine(leave_bytes) if target.backend.on_hardware else None


def _of_gpu(device: GpuDevice, leave_bytes: int) -> Room | None:
    reading = gpu.look(device.uuid)
    if reading is None:
        return None
    free = reading.free_bytes
    if free is None and reading.used_bytes is not None:
        free = device.total_bytes - reading.used_bytes
    return None if free is None else Room(device.name, device.total_bytes, free, leave_bytes)


def _of_machine(leave_bytes: int) -> Room:
    """The machine's memory, or what the container has of it."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for limit, used in _container():
        total, free = min(total, limit), min(free, max(0, limit - used))
    return Room("this machine's memory", total, free, leave_bytes)


def _container() -> Iterator[tuple[int, int]]:
    """The container's limit and what it uses, without the page cache that the kernel gives back; of cgroup v2."""
    with suppress(OSError, ValueError, KeyError):  # no container, or no limit: `max`
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}
        yield limit, used - cached["inactive_file"]


def _mib(number: int) -> str:
    return f"{number / _MIB:,.0f} MiB"
