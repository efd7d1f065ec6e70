"""A lock on the folder of a file. It leaves nothing behind, and depends on no TMPDIR and no user."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

_POLL_S = 0.02
_NOT_HERE = {errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Why a folder cannot be locked: some network file systems lock only files that are open for writing."""

LOCK_NAME = ".vllmperf.lock"
"""The file that stands for the lock where the folder itself cannot be locked."""


@contextmanager
def locked(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lock on a folder; everybody who writes into it takes it.

    The folder itself is locked. Where its file system refuses that, a file in it stands for the lock, and is removed.

    Args:
        folder: an existing folder.
        timeout: seconds to wait for another holder.

    Raises:
        TimeoutError: when another process has held it for so long; its text names a lock file, if there is one.
        OSError: when the folder cannot be opened or written.
    """
    deadline = time.monotonic() + timeout
    handle = _locked_folder(folder, deadline)
    if handle is not None:
        try:
            yield
        finally:
            os.close(handle)
        return
    lock = SoftFileLock(folder / LOCK_NAME, timeout=max(0.0, deadline - time.monotonic()))
    try:
        lock.acquire()
    except Timeout:
        raise TimeoutError(f"delete {folder / LOCK_NAME} if that run has ended") from None
    try:
        yield
    finally:
        lock.release()


def _locked_folder(folder: Path, deadline: float) -> int | None:
    """A descriptor that holds the lock; None where the file system has no lock on folders."""
    while True:  # again, where the folder was replaced while this waited
        with ExitStack() as opened:
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except PermissionError:  # it may be written, but not listed
                return None
            opened.callback(os.close, handle)
            if not _lock(handle, deadline):
                return None
            if _same(handle, folder):
                opened.pop_all()
                return handle


def _lock(handle: int, deadline: float) -> bool:
    """Wait for the lock; False where the file system has none on folders."""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno in _NOT_HERE:
                return False
            raise
        else:
            return True


def _same(handle: int, folder: Path) -> bool:
    """Whether the locked folder still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock on one file for as long as it is written again and again; nobody waits for it.

    A hidden file beside it stands for the lock, as the file itself is replaced at every write. It is removed at the
    end, and dropped by the kernel where the holder was killed.

    Args:
        path: the file, which need not exist; its folder has to.

    Raises:
        TimeoutError: when another process holds it; its text names a lock file, if that has to be deleted.
        OSError: when the lock file cannot be made.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = _locked_file(lock)
    if handle is not None:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(handle)
        return
    soft = SoftFileLock(lock.with_name(f"{lock.name}.held"), timeout=0)
    try:
        soft.acquire()
    except Timeout:
        raise TimeoutError(f"delete {soft.lock_file} if that run has ended") from None
    try:
        yield
    finally:
        soft.release()


def _locked_file(lock: Path) -> int | None:
    """A descriptor that holds the lock; None where the file system has no locks."""
    while True:  # again, where its holder has removed it meanwhile
        with ExitStack() as opened:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            opened.callback(os.close, handle)
            if not _lock(handle, time.monotonic()):
                lock.unlink(missing_ok=True)
                return None
            if _same(handle, lock):
                opened.pop_all()
                return handle
