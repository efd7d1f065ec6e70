"""Who holds the leases of this machine. Only looks: no lock stays, and no lock file is made."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_vllmperf.lab.leases import LOCK_FILE
from pytest_vllmperf.records.masking import masked_assignments

_PREFIX, _SUFFIX = LOCK_FILE.split("{}")
_LONGEST = 120


@dataclass(frozen=True)
class Holder:
    """A device that a run holds.

    Attributes:
        device: a GPU's UUID, `cpu`, or `endpoint-` and an address.
        pid: of the process that holds it; None where this user may not know, or it is in another container.
        user: who runs it; empty where that is not known.
        command: its command line, without secrets; empty where that is not known.
    """

    device: str
    pid: int | None = None
    user: str = ""
    command: str = ""

    @property
    def by(self) -> str:
        """Who holds it, in words."""
        if self.pid is None:
            return "a process of another user or container"
        who = f" of {self.user}" if self.user else ""
        return f"process {self.pid}{who}" + (f": {self.command}" if self.command else "")


def holders(where: Path) -> list[Holder]:
    """Who holds which device, by the names of the lock files; empty where no run ever held one.

    Each file is locked for an instant, as nothing else tells for sure whether it is locked. A run that comes in that
    very instant looks again at once.

    Args:
        where: the folder of the lock files.

    Raises:
        OSError: it cannot be read.
    """
    try:
        files = sorted(where.glob(f"{_PREFIX}*{_SUFFIX}"))
    except FileNotFoundError:
        return []
    held = [file for file in files if _locked(file)]
    owners = _owners(held) if held else {}
    return [_holder(file, owners.get(file)) for file in held]


def _locked(file: Path) -> bool:
    """Whether another process has locked it; one that cannot be opened counts as free."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _owners(files: list[Path]) -> dict[Path, psutil.Process]:
    """The oldest process that has each file open, of those that this user may look at."""
    known = {(found.st_dev, found.st_ino): file for file in files for found in (file.stat(),)}
    found: dict[Path, psutil.Process] = {}
    for process in sorted(psutil.process_iter(), key=lambda one: one.pid):
        for place in _open_files(process.pid):
            if place in known:
                found.setdefault(known[place], process)
    return found


def _open_files(pid: int) -> Iterator[tuple[int, int]]:
    """Device and inode of what a process has open; nothing of another user's process."""
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found = link.stat()
                yield found.st_dev, found.st_ino


def _holder(file: Path, process: psutil.Process | None) -> Holder:
    device = file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    if process is None:
        return Holder(device)
    user = command = ""
    with suppress(psutil.Error, KeyError):  # it has ended meanwhile; a user without a name
        user = process.username()
        command = masked_assignments(" ".join(process.cmdline()))[:_LONGEST]
    return Holder(device, process.pid, user, command)
