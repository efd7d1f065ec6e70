"""A folder that is made whole or not at all.

Unlike a file it is never replaced: a folder cannot take the place of another in one step, and a finished checkpoint
stays. Its files are written into a folder beside, which is renamed. Who makes it holds a lock on that folder, which
ends with the process: one without a lock was left behind by a process that was killed.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder`, which takes its name at the end; after an error nothing is left of it.

    What killed processes left of the same folder is removed first.

    Raises:
        OSError: when it cannot be made or renamed.
    """
    prefix = f".{folder.name}.making-"
    for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
        _remove_left(left)
    temporary, lock = _locked(folder.parent, prefix)
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def _locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock; made again where it was removed before it was locked."""
    while True:
        made = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        with suppress(FileNotFoundError):
            descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: nothing is ever removed there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if made.exists():
                return made, descriptor
            os.close(descriptor)


def _remove_left(folder: Path) -> None:
    """Remove a folder that nobody makes any more; one that cannot be looked at stays."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
