"""Leases on devices: what one run measures on, no other run of this machine measures on at the same time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_vllmperf.engines.base import Progress

_POLL_S = 1.0


class Leases:
    """The devices that this process holds, each through a lock file whose lock ends with the process.

    Args:
        folder: of the lock files, the same for all runs of this machine.
        pause: between two looks at devices that others hold, in seconds.
    """

    def __init__(self, folder: Path | None = None, pause: float = _POLL_S) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._pause = pause
        self._held: dict[str, FileLock] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """What is held now."""
        return tuple(self._held)

    def choose(
        self, fitting: Sequence[str], count: int, progress: Progress, make_room: Callable[[], None] = lambda: None
    ) -> tuple[str, ...]:
        """Hold `count` of the devices that fit: what is held already first, then what is free, in their order.

        Where too few are free, everything that is held is given back before the wait: two runs that each hold what
        the other waits for would wait for ever. All of them are taken together or none.

        Args:
            fitting: GPU UUIDs, or `cpu`; at least `count`.
            count: how many.
            progress: told while waiting.
            make_room: called once before devices are given back; ends what runs on them.

        Returns:
            The chosen ones, in the order of `fitting`.
        """
        started, waited = time.monotonic(), False
        while (chosen := self._take(fitting, count)) is None:
            if self._held:
                make_room()
                self.release()
            progress(_waiting(fitting, count), time.monotonic() - started)
            if waited:
                time.sleep(self._pause)
            waited = True
        return chosen

    def _take(self, fitting: Sequence[str], count: int) -> tuple[str, ...] | None:
        own = [device for device in fitting if device in self._held]
        fresh: list[str] = []
        for device in fitting:
            if len(own) + len(fresh) < count and device not in self._held and self._acquired(device):
                fresh.append(device)
        if len(own) + len(fresh) < count:
            self.release(fresh)
            return None
        wanted = {*own[:count], *fresh}
        return tuple(device for device in fitting if device in wanted)

    def _acquired(self, device: str) -> bool:
        lock = FileLock(self._folder / f"vllmperf-device-{os.getuid()}-{device}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._held[device] = lock
        return True

    def release(self, devices: Iterable[str] | None = None) -> None:
        """Give devices back; all of them unless named."""
        for device in list(self._held) if devices is None else devices:
            self._held.pop(device).release()


def _waiting(fitting: Sequence[str], count: int) -> str:
    if len(fitting) == 1:
        return f"waiting for {fitting[0]}, which another run is measuring on"
    return f"waiting for {count} of {len(fitting)} GPUs, which other runs are measuring on"
