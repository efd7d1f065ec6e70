"""Leases on devices: what one run measures on, no other run of this machine measures on at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.records.engine import Progress
from pytest_vllmperf.storage.names import slug

CPU = "cpu"
"""Leased by an engine that runs on no GPU."""
_ENDPOINT = "endpoint-"
"""In front of the address of a server that runs already."""

VARIABLE = "VLLMPERF_LOCKS"
"""Names another folder for the lock files: containers of one host can mount a common one."""

FOLDER = Path("/tmp/vllmperf-locks")  # noqa: S108 - fixed: runs with different TMPDIR share the GPUs
"""Where the lock files of all runs and all users of a machine lie."""

LOCK_FILE = "vllmperf-device-{}.lock"
"""The name of the lock file of a device."""

_POLL_S = 1.0


@dataclass(frozen=True)
class LockFile:
    """A lock file that this process has locked. The kernel takes the lock back when the process ends.

    Attributes:
        path: its place.
        descriptor: open, with the lock on it.
    """

    path: Path
    descriptor: int

    @classmethod
    def acquire(cls, path: Path) -> LockFile | None:
        """Lock a file, made where there is none; None while another process holds it.

        A holder could remove the file between the opening and the lock. So the path must still lead to the locked
        file; else it is opened again.

        Raises:
            OSError: it cannot be made or opened, or is no regular file.
        """
        while True:
            lock = cls(path, _opened(path))
            try:
                fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock.descriptor)
                return None
            except OSError:
                os.close(lock.descriptor)
                raise
            if lock.in_place():
                return lock
            os.close(lock.descriptor)

    def in_place(self) -> bool:
        """Whether the path still leads to the locked file: who finds another one there can lock that."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back. The file stays: it may be another process's already."""
        os.close(self.descriptor)


class Leases:
    """The devices that this process holds, each through a lock file whose lock ends with the process.

    Args:
        folder: of the lock files; what `VLLMPERF_LOCKS` names, or else `FOLDER`, unless given.
        pause: between two looks at devices that others hold, in seconds.
        timeout: seconds to wait for devices that others hold.
    """

    def __init__(self, folder: Path | None = None, pause: float = _POLL_S, timeout: float = float("inf")) -> None:
        self._folder = folder or lock_folder()
        self._pause = pause
        self._timeout = timeout
        self._held: dict[str, LockFile] = {}

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
            EngineError: a lock file, or the folder for them, cannot be made or opened, or the time-out is over.
        """
        started, again = time.monotonic(), False
        while (chosen := self.take(fitting, count)) is None:
            self.release()
            waited = time.monotonic() - started
            progress(f"waiting for {_busy(fitting, count)}", waited)
            if waited >= self._timeout:
                raise EngineError(
                    f"no lease on {_busy(fitting, count)}, within {self._timeout:g} s; end that run, or raise "
                    "--vllmperf-lease-timeout"
                )
            if again:  # the second look is at once
                time.sleep(min(self._pause, self._timeout - waited))
            again = True
        return chosen

    def take(self, fitting: Sequence[str], count: int) -> tuple[str, ...] | None:
        """Hold `count` of the devices that fit at once: what is held already first, then what is free, in their order.

        All of them are taken together or none; then it is None, and what was held stays so.

        Args:
            fitting: GPU UUIDs, or `CPU`; at least `count`.
            count: how many.

        Raises:
            EngineError: a lock file, or the folder for them, cannot be made or opened; or a device that was held is
                held no more, see `verify`.
        """
        self.verify()
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

    def verify(self) -> None:
        """Make sure that this process still holds what it took: another user may remove or replace a lock file.

        Raises:
            EngineError: another run may have used a device meanwhile. It is then held no more.
        """
        lost = [device for device, lock in self._held.items() if not lock.in_place()]
        if lost:
            path = self._held[lost[0]].path
            self.release(lost)
            raise EngineError(
                f"the lock file {path} was removed or replaced while this run held {lost[0]}; another run may have "
                "used it meanwhile, so what was measured on it does not count; run the test again"
            )

    def _acquired(self, device: str) -> bool:
        file = self._folder / LOCK_FILE.format(device)
        try:
            _make_shared(self._folder)
            lock = LockFile.acquire(file)
        except OSError as error:
            remedy = f"set {VARIABLE} to a folder that every user of this machine can write to"
            raise EngineError(f"{device} cannot be locked by {file}: {error.strerror or error}; {remedy}") from error
        if lock is None:
            return False
        self._held[device] = lock
        return True

    def release(self, devices: Iterable[str] | None = None) -> None:
        """Give devices back; all of them unless named."""
        for device in list(self._held) if devices is None else devices:
            self._held.pop(device).release()


def lock_folder() -> Path:
    """Where lock files lie: the folder that `VLLMPERF_LOCKS` names, or else `FOLDER`."""
    return Path(os.environ.get(VARIABLE) or FOLDER)


def endpoint_lease(url: str) -> str:
    """The name of the lease of a server that runs already; the same for each way to write its path."""
    parts = urlsplit(url)
    return f"{_ENDPOINT}{slug(parts.netloc or url)}"


def gpus_among(devices: Iterable[str]) -> list[str]:
    """Of leased things the GPUs, by UUID: memory can be looked at on them alone."""
    return [device for device in devices if device != CPU and not device.startswith(_ENDPOINT)]


def _opened(path: Path) -> int:
    """A descriptor of a lock file that all users can lock, made where there is none.

    Never opened with O_CREAT where it exists: Linux (fs.protected_regular) refuses that for another user's file in a
    folder with the sticky bit. Another user's file that cannot be written is opened for reading: a lock needs no more.

    Raises:
        OSError: it cannot be made or opened, is a link, or is no regular file.
    """
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # the last for a FIFO, which would be waited for
    while True:
        with suppress(FileNotFoundError):
            descriptor = _opened_there(path, flags)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
            os.fchmod(descriptor, 0o666)  # whatever the umask
            return descriptor


def _opened_there(path: Path, flags: int) -> int:
    try:
        return os.open(path, os.O_RDWR | flags)
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)


def _make_shared(folder: Path) -> None:
    """Make a folder that all users can write to, and where nobody can remove another's files.

    An existing folder keeps its mode. `Leases.verify` notices a lock file that was removed from it.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        return
    folder.chmod(0o1777)  # by chmod, as the umask limits mkdir


def _busy(fitting: Sequence[str], count: int) -> str:
    if len(fitting) == 1:
        return f"{fitting[0]}, which another run is measuring on"
    return f"{count} of {len(fitting)} GPUs, which other runs are measuring on"
