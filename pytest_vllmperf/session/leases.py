"""Leases on devices: what one run measures on, no other run of this machine measures on at the same time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_vllmperf.engines.base import Progress

_POLL_S = 1.0


class Leases:
    """The devices this process holds, each through a lock file that ends with the process."""

    def __init__(self) -> None:
        self._held: dict[str, FileLock] = {}

    def acquire(self, devices: Iterable[str], progress: Progress) -> None:
        """Hold all of `devices`, waiting for as long as another run has one of them.

        Args:
            devices: GPU UUIDs, or `cpu`.
            progress: told while waiting.
        """
        for device in sorted(set(devices) - set(self._held)):
            self._held[device] = _wait(device, progress)

    def release(self) -> None:
        """Give all of them back."""
        for lock in self._held.values():
            lock.release()
        self._held.clear()


def _wait(device: str, progress: Progress) -> FileLock:
    lock = FileLock(Path(tempfile.gettempdir()) / f"vllmperf-device-{os.getuid()}-{device}.lock")
    started = time.monotonic()
    while not _taken(lock):
        progress(f"waiting for {device}, which another run is measuring on", time.monotonic() - started)
    return lock


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=_POLL_S)
    except Timeout:
        return False
    return True
