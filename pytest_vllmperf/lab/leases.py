"""Leases on devices: what one run measures on, no other run of this machine measures on at the same time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.records.engine import Progress

CPU = "cpu"
"""Leased by an engine that runs on no GPU."""

VARIABLE = "VLLMPERF_LOCKS"
"""Names another folder for the lock files: containers of one host can mount a common one."""

FOLDER = Path("/tmp/vllmperf-locks")  # noqa: S108 - fixed: runs with different TMPDIR share the GPUs
"""Where the lock files of all runs and all users of a machine lie."""

_POLL_S = 1.0


class Leases:
    """The devices that this process holds, each through a lock file whose lock ends with the process.

    Args:
        folder: of the lock files; what `VLLMPERF_LOCKS` names, or else `FOLDER`, unless given.
        pause: between two looks at devices that others hold, in seconds.
    """

    def __init__(self, folder: Path | None = None, pause: float = _POLL_S) -> None:
        self._folder = folder or Path(os.environ.get(VARIABLE) or FOLDER)
        self._pause = pause
        self._held: dict[str, FileLock] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """What is held now."""
        return tuple(self._held)

    def choose(self, fitting: Sequence[str], count: int, progress: Progress) -> tuple[str, ...]:
        """Hold `count` of the devices that fit; wait until there are as many.

        Where too few are free, everything that is held is given back before the wait: two runs that each hold what
        the other waits for would wait for ever. End what runs on the devices that are held before calling it.

        Args:
            fitting: GPU UUIDs, or `CPU`; at least `count`.
            count: how many.
            progress: called while waiting.

        Returns:
            The chosen ones, in the order of `fitting`.

        Raises:
            EngineError: a lock file, or the folder for them, cannot be made or opened.
        """
        started, waited = time.monotonic(), False
        while (chosen := self.take(fitting, count)) is None:
            self.release()
            progress(_waiting(fitting, count), time.monotonic() - started)
            if waited:
                time.sleep(self._pause)
            waited = True
        return chosen

    def take(self, fitting: Sequence[str], count: int) -> tuple[str, ...] | None:
        """Hold `count` of the devices that fit at once: what is held already first, then what is free, in their order.

        All of them are taken together or none; then it is None, and what was held stays so.

        Args:
            fitting: GPU UUIDs, or `CPU`; at least `count`.
            count: how many.

        Raises:
            EngineError: a lock file, or the folder for them, cannot be made or opened.
        """
        own = [device for device in fitting if device in self._held]
        fresh: list[str] = []
        try:
            for device in fitting:
                if len(own) + len(fresh) < count and device not in self._held and self._acquired(device):
                    fresh.append(device)
        except EngineError:
            self.release(fresh)
            raise
        if len(own) + len(fresh) < count:
            self.release(fresh)
            return None
        wanted = {*own[:count], *fresh}
        return tuple(device for device in fitting if device in wanted)

    def _acquired(self, device: str) -> bool:
        file = self._folder / f"vllmperf-device-{device}.lock"
        lock = FileLock(file, mode=0o666)  # which it sets whatever the umask, where the file is ours
        try:
            _make_shared(self._folder)
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            remedy = f"set {VARIABLE} to a folder that every user of this machine can write to"
            raise EngineError(f"{device} cannot be locked by {file}: {error.strerror or error}; {remedy}") from error
        self._held[device] = lock
        return True

    def release(self, devices: Iterable[str] | None = None) -> None:
        """Give devices back; all of them unless named."""
        for device in list(self._held) if devices is None else devices:
            self._held.pop(device).release()


def _make_shared(folder: Path) -> None:
    """Make a folder that all users can write to; one that exists is used as it is.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        return
    # By chmod, as the umask limits mkdir. Without the sticky bit: where it is set, Linux (fs.protected_regular) refuses
    # to open what may be created and is another user's.
    folder.chmod(0o777)


def _waiting(fitting: Sequence[str], count: int) -> str:
    if len(fitting) == 1:
        return f"waiting for {fitting[0]}, which another run is measuring on"
    return f"waiting for {count} of {len(fitting)} GPUs, which other runs are measuring on"
