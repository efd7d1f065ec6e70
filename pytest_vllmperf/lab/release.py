"""Proof that a stopped engine's memory came back, before the next engine is started into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.records.devices import GpuReading
from pytest_vllmperf.records.engine import Progress

TOLERANCE = 64 * 2**20
"""Bytes by which a device may hold more than before: drivers keep some of what they took."""

_POLL_S = 0.2

Read = Callable[[str], GpuReading | None]
"""Looks at a device by its UUID; None where nobody can."""


class ReleaseProof:
    """What devices held before the first engine of this run, and whether they hold no more again.

    Args:
        read: looks at a device.
        timeout: seconds for the memory to come back.
        clock: in seconds.
        sleep: waits between two looks.
    """

    def __init__(
        self,
        read: Read,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._read = read
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._idle: dict[str, GpuReading] = {}
        self._own: set[int] = set()

    def taken(self, uuids: Sequence[str]) -> None:
        """Note what these devices hold before any engine of this run; a device that is noted already stays."""
        for uuid in uuids:
            if uuid not in self._idle and (reading := self._read(uuid)) is not None:
                self._idle[uuid] = reading

    def started(self, uuids: Sequence[str], pids: Collection[int]) -> None:
        """Note whose memory has to come back, now that an engine is up on these devices.

        Args:
            uuids: of the devices.
            pids: the engine's processes. In a container NVML may number them as the host does, so that none of them
                shows: then they are those that were not there before.
        """
        for uuid in uuids:
            now = _processes(self._read(uuid))
            if now.isdisjoint(pids):
                self._own |= now - _processes(self._idle.get(uuid))
        self._own |= set(pids)

    def belonging(self, uuid: str, pids: Collection[int]) -> frozenset[int] | None:
        """Processes that may be on a device: those that were there before this run, and this run's own.

        None where nobody knows what was there before.

        Args:
            uuid: of the device.
            pids: processes of the engine that is measured, some of which may have come since it started.
        """
        idle = self._idle.get(uuid)
        return None if idle is None or idle.processes is None else frozenset({*idle.processes, *self._own, *pids})

    def wait(self, uuids: Sequence[str], progress: Progress) -> None:
        """Wait until these devices hold no more than before; call it while no engine of this run is on them.

        Raises:
            EngineError: when the memory did not come back in time, naming who holds how much.
        """
        began = self._clock()
        while found := self._first_held(uuids):
            waited = self._clock() - began
            if waited >= self._timeout:
                raise EngineError(found)
            progress("waiting for GPU memory of the engine before", waited)
            self._sleep(_POLL_S)

    def _first_held(self, uuids: Sequence[str]) -> str | None:
        for uuid in uuids:
            now, idle = self._read(uuid), self._idle.get(uuid)
            if now is not None and idle is not None and (left := unreturned(idle, now, self._own)) > TOLERANCE:
                return _told(uuid, left, {pid: held for pid, held in (now.processes or {}).items() if pid in self._own})
        return None


def _processes(reading: GpuReading | None) -> set[int]:
    """Those that NVML shows on a device."""
    return set() if reading is None else set(reading.processes or {})


def unreturned(idle: GpuReading, now: GpuReading, own: Collection[int]) -> int:
    """Bytes that a device holds beyond what it held before, less what other people's processes took since.

    Args:
        idle: before the first engine.
        now: after the last has stopped.
        own: process ids of this run's engines.
    """
    if idle.used_bytes is None or now.used_bytes is None:
        return 0
    before = idle.processes or {}
    others = sum(
        max(0, (held or 0) - (before.get(pid) or 0)) for pid, held in (now.processes or {}).items() if pid not in own
    )
    return now.used_bytes - idle.used_bytes - others


def _told(uuid: str, left: int, holders: Mapping[int, int | None]) -> str:
    named = ", ".join(
        f"process {pid} holds {'some of them' if held is None else f'{held / 2**20:,.0f} MiB'}"
        for pid, held in holders.items()
    )
    return (
        f"{left / 2**20:,.0f} MiB of GPU {uuid} did not come back after its engine had stopped: "
        f"{named or 'no process that NVML shows holds them'}; nothing is started into that"
    )
