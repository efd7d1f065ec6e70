"""The one way in which this package replaces a file, and removes what a killed run left of one.

Whole folders are another matter, see `models.folders`: a folder is made once and never replaced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NEW_FILE_MODE = 0o644
LEFTOVER_AGE_S = 60.0
"""A temporary file is older than this before it counts as left behind: its writer locks it after it has made it."""

_TEMPORARY = re.compile(r"\.vllmperf-[0-9a-f]{16}\.tmp")


def write_text(path: Path, text: str, unless: Callable[[], bool] = lambda: False) -> bool:
    """Write a text as `write_bytes` does. Unpaired surrogates, which UTF-8 does not have, are written as escapes.

    Args:
        path: the file.
        text: all of it.
        unless: asked when all is ready; the file stays as it is where this says so.

    Returns:
        Whether the file was replaced.

    Raises:
        OSError: when it cannot be written. The file is then what it was, and nothing else is left behind.
    """
    return write_bytes(path, text.encode("utf-8", "backslashreplace"), unless)


def write_bytes(path: Path, content: bytes, unless: Callable[[], bool] = lambda: False) -> bool:
    """Write a file beside its place, flush it to the disk, then rename it.

    A reader sees the old file or the new one, never a part of one. The mode of an existing file is kept; a new one
    gets 0o644 less the umask. A symbolic link stays: what it points to is replaced, or made where nothing is there.

    Args:
        path: the file.
        content: all of it.
        unless: asked when all is ready; the file stays as it is where this says so.

    Returns:
        Whether the file was replaced.

    Raises:
        OSError: when it cannot be written. The file is then what it was, and nothing else is left behind.
    """
    target = _target(path)
    mode = _mode(target)
    temporary = target.with_name(f".vllmperf-{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            _mark_in_use(handle)
            if mode is not None:
                os.fchmod(handle, mode)
            file.write(content)
            file.flush()
            os.fsync(handle)
            if unless():
                temporary.unlink()
                return False
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def sweep(folder: Path) -> None:
    """Remove temporary files that a killed run has left in a folder.

    Only what this package has made, this user owns, nobody is writing and is older than a minute.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_leftover(Path(entry.path))


def _remove_leftover(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return
    if time.time() - found.st_mtime < LEFTOVER_AGE_S:
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where its writer lives
        path.unlink()
    finally:
        os.close(handle)


def _mark_in_use(handle: int) -> None:
    """Hold a lock on a temporary file while it is written, so that no other run sweeps it."""
    with suppress(OSError):  # not every file system has locks; its age protects it there
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _target(path: Path) -> Path:
    """The file that a path leads to through all links.

    Raises:
        OSError: for links in a circle, or one into a folder that does not exist.
    """
    if not path.is_symlink():
        return path
    try:
        return Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"it is a link to {target}, whose folder does not exist", str(path))
    return target


def _mode(target: Path) -> int | None:
    """The permissions of an existing file; None where there is none.

    Raises:
        OSError: for what is no regular file, such as a folder or a device.
    """
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(target))
    return stat.S_IMODE(found.st_mode)
