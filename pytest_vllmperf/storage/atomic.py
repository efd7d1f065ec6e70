"""The one way in which this package replaces a file.

Whole folders are another matter, see `models.folders`: a folder is made once and never replaced.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

NEW_FILE_MODE = 0o644


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place, flush it to the disk, then rename it.

    A reader sees the old file or the new one, never a part of one. The mode of an existing file is kept; a new one
    gets 0o644 less the umask. A symbolic link stays: what it points to is replaced, or made where nothing is there.

    Raises:
        OSError: when it cannot be written. The file is then what it was, and nothing else is left behind.
    """
    target = _target(path)
    mode = _mode(target)
    temporary = target.with_name(f".vllmperf-{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE_MODE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
