"""What is on devices while no engine of this run is: a stopped engine's memory, and other people's work."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.metrics.gpu_use import NEIGHBOUR_SHARE
from pytest_vllmperf.records.devices import GpuReading, Occupants
from pytest_vllmperf.records.engine import Progress

TOLERANCE = 64 * 2**20
"""Bytes by which a device may hold more than before: drivers keep some of what they took."""

_POLL_S = 0.2
_WORK_FADES_S = 1.5
"""Seconds until NVML's utilization, over up to a second, holds nothing of an engine that has just been stopped."""

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
        self._latest: dict[str, GpuReading | None] = {}
        self._utilization: dict[str, float | None] = {}

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

    def occupants(self, uuid: str, pids: Collection[int]) -> Occupants:
        """Who may be on a device, and what was done on it before this run's engine.

        Args:
            uuid: of the device.
            pids: processes of the engine that is measured, some of which may have come since it started.
        """
        idle = self._idle.get(uuid)
        before = None if idle is None or idle.processes is None else frozenset(idle.processes)
        return Occupants(before, frozenset({*self._own, *pids}), self._utilization.get(uuid))

    def starting(self, uuids: Sequence[str], progress: Progress) -> None:
        """Make sure of devices that no engine of this run is on, before one is started: their memory and their work.

        Work is looked at until a reading shows none, or longer than a stopped engine's can last: a neighbour that
        computes shows in all of them, a desktop that blinks in few.

        Raises:
            EngineError: when memory did not come back in time.
        """
        self.wait(uuids, progress)
        for uuid in uuids:
            self._utilization[uuid] = self._lowest_utilization(uuid)

    def _lowest_utilization(self, uuid: str) -> float | None:
        now, began = self._latest.get(uuid), self._clock()
        lowest: float | None = None
        while now is not None and now.utilization is not None:
            lowest = now.utilization if lowest is None else min(lowest, now.utilization)
            if lowest < NEIGHBOUR_SHARE or self._clock() - began >= _WORK_FADES_S:
                break
            self._sleep(_POLL_S)
            now = self._read(uuid)
        return lowest

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
            progress("waiting for the previous engine's GPU memory", waited)
            self._sleep(_POLL_S)

    def _first_held(self, uuids: Sequence[str]) -> str | None:
        for uuid in uuids:
            now, idle = self._read(uuid), self._idle.get(uuid)
            self._latest[uuid] = now
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
        f"{left / 2**20:,.0f} MiB of GPU {uuid} are still allocated after the engine exited "
        f"({named or 'no process listed by NVML holds them'}); refusing to start another engine. End the "
        f"process that holds the memory"
    )
