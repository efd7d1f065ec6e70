"""The one way in which this package opens a stored file: a regular file, of a bounded size, without ever waiting."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MIB = 1 << 20


class TooLargeError(OSError):
    """A file that is larger than the reader allows."""


def read(path: Path, limit: int) -> bytes:
    """The content of a regular file.

    What is no regular file is not opened at all: opening a pipe waits for its other end, and opening a device may act
    on it. The opened file is looked at again, as it may have been replaced in between.

    Args:
        path: the file; a link is followed.
        limit: bytes at most.

    Raises:
        TooLargeError: for a file of more bytes.
        OSError: when it cannot be read, is not a regular file, or its name is too long for the file system.
    """
    with _opened(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(path, len(content), limit)
    return content


def head(path: Path, size: int) -> bytes:
    """The first bytes of a regular file of any size.

    Raises:
        OSError: as for `read`.
    """
    with _opened(path, None) as file:
        return file.read(size)


@contextmanager
def _opened(path: Path, limit: int | None) -> Iterator[BinaryIO]:
    _check(path, path.stat(), limit)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(handle, "rb") as file:
        _check(path, os.fstat(handle), limit)
        yield file


def _check(path: Path, found: os.stat_result, limit: int | None) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if limit is not None and found.st_size > limit:
        raise _too_large(path, found.st_size, limit)


def _too_large(path: Path, size: int, limit: int) -> TooLargeError:
    words = f"it is {-(-size // MIB)} MiB; the limit is {limit // MIB} MiB"
    return TooLargeError(errno.EFBIG, words, str(path))
