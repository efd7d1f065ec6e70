"""Temporary folders of a run: private, gone with the run, and removed by a later run if this one is killed."""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

KEPT_FOLDERS = 20
"""The logs of so many runs in which an engine failed are kept, the newest; every worker of xdist is a run."""

_LOCK = "run.lock"
_KEEP = "keep"
_SOCKET_LIMIT = 107
"""Bytes of a Unix socket's path."""
_SOCKET_NAME = 64
"""Bytes for a folder of ours and the longest name in it: `/vp-abcdefgh/` and a UUID, or `0/pymp-…/listener-…`."""
_REMOVAL_S = 1.0
_REMOVAL_PAUSE_S = 0.05


class RunFolder:
    """A private folder (0700). A lock in it says that its run lives; the kernel drops the lock when the run ends.

    Args:
        parent: where it is made; leftovers of this user's dead runs are removed there first.
        prefix: what its name begins with.

    Raises:
        OSError: when it cannot be made.

    Attributes:
        path: of the folder.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        sweep(parent, prefix)
        self.path = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        try:
            self._lock = _new_lock(self.path / _LOCK)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def close(self) -> None:
        """Remove it, all but logs that were kept."""
        deadline = time.monotonic() + _REMOVAL_S
        while not _clear(self.path) and self.path.exists() and time.monotonic() < deadline:
            time.sleep(_REMOVAL_PAUSE_S)  # a process that has just been killed may still have written
        if self._lock is not None:
            os.close(self._lock)


def compiled_code() -> Path | None:
    """Where torch keeps compiled code by itself, made if need be: a folder named for the user, among temporary files.

    None where there is none that only this user can write, or where others could put another one in its place: what
    lies in it is run. Links are not followed.
    """
    parent = Path(tempfile.gettempdir())
    if not _is_safe(parent):
        return None
    with suppress(OSError, KeyError):  # a user without a name
        folder = parent / ("torchinductor_" + re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser()))
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
            return folder
    return None


def keep(log: Path) -> None:
    """Leave the logs in a run's folder there when the run ends.

    Args:
        log: a file in that folder.
    """
    with suppress(OSError):
        (log.parent / _KEEP).touch()


def sweep(parent: Path, prefix: str) -> None:
    """Remove what dead runs of this user left in a folder, and the oldest of their kept logs. Links are not followed.

    Args:
        parent: where they lie.
        prefix: what their names begin with.
    """
    kept = []
    for folder in _own(parent, prefix):
        with suppress(OSError):
            lock = _lock_of_dead_run(folder / _LOCK)
            try:
                if _clear(folder):
                    kept.append(folder)
            finally:
                os.close(lock)
    for folder in sorted(kept, key=_age)[KEPT_FOLDERS:]:
        shutil.rmtree(folder, ignore_errors=True)


def sockets_parent(places: Sequence[str | None], name: int = _SOCKET_NAME) -> Path | None:
    """The first place with room for the names of Unix sockets below it where nobody else can replace a folder of ours.

    Args:
        places: paths of folders; None and those that do not exist are left out.
        name: bytes that the longest path below it takes.
    """
    for place in map(Path, filter(None, places)):
        if len(os.fsencode(place)) + name <= _SOCKET_LIMIT and place.is_absolute() and _is_safe(place):
            return place
    return None


def _is_safe(place: Path) -> bool:
    try:
        found = place.stat()
    except OSError:
        return False
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    owned = found.st_uid in (0, os.geteuid())
    sticky = bool(found.st_mode & stat.S_ISVTX)
    return stat.S_ISDIR(found.st_mode) and owned and (not shared or sticky) and os.access(place, os.W_OK | os.X_OK)


def _own(parent: Path, prefix: str) -> Iterator[Path]:
    """Private folders of this user's."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == stat.S_IRWXU:
                    yield Path(entry.path)


def _new_lock(file: Path) -> int | None:
    """A descriptor that holds a new lock file; None where the file system has no locks.

    The file gets its name once it is locked: nobody finds it unlocked. A folder without one is never swept.
    """
    unnamed = file.with_suffix(".new")
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(file)
    except OSError:
        os.close(lock)
        unnamed.unlink(missing_ok=True)
        return None
    return lock


def _lock_of_dead_run(file: Path) -> int:
    """A descriptor that holds a lock file.

    Raises:
        OSError: when its run lives, or there is no such file.
    """
    lock = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _clear(folder: Path) -> bool:
    """Remove a folder, or all but its logs where they are kept; returns whether they are."""
    if not (folder / _KEEP).exists():
        shutil.rmtree(folder, ignore_errors=True)
        return False
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.suffix != ".log" and entry.name not in (_LOCK, _KEEP):
            entry.unlink(missing_ok=True)
    return True


def _age(folder: Path) -> float:
    """Seconds since a log in it was kept."""
    try:
        return time.time() - (folder / _KEEP).stat().st_mtime
    except OSError:
        return float("inf")
