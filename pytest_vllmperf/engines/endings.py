"""How a process ended, in words; and whether the kernel ended it because memory ran out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GIB = 2**30
_NO_LIMIT = 2**60
"""What version 1 of control groups writes for "no limit" is larger."""


@dataclass(frozen=True)
class OomKills:
    """What the kernel counts of processes that it ended for want of memory, in one control group.

    Attributes:
        count: how many so far; 0 where it does not count.
        limit_bytes: the lowest limit of the group and those above it; None without one.
    """

    count: int
    limit_bytes: int | None


def oom_kills(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> OomKills:
    """What has been counted for this process's control group, which its engines are in too.

    Args:
        root: where control groups are mounted, of version 2 or 1.
        membership: the file that names this process's groups.
    """
    groups = list(_groups(root, membership))
    counts = [count for group in groups if (count := _count(group)) is not None]
    limits = [limit for group in groups if (limit := _limit(group)) is not None]
    return OomKills(counts[0] if counts else 0, min(limits, default=None))


def ending(exit_code: int | None, during: str, before: OomKills) -> str:
    """How a process ended: the rest of a sentence that begins with its name.

    Args:
        exit_code: None where unknown, negative for the signal that ended it, which was not sent by this process.
        during: what it did, with a blank in front; may be empty.
        before: what `oom_kills` had counted when that began.
    """
    if exit_code is None:
        return f"ended unexpectedly{during}"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}{during}"
    if exit_code != -signal.SIGKILL:
        return f"was ended by {_signal_name(-exit_code)}{during}"
    if shortage := memory_shortage(before):
        return f"was killed{during} because memory ran out ({shortage})"
    return f"was ended by SIGKILL{during}; the kernel sends it when memory runs out"


def memory_shortage(before: OomKills) -> str:
    """Which memory ran out since then, where the kernel ended a process for that; else empty."""
    now = oom_kills()
    if now.count <= before.count:
        return ""
    if now.limit_bytes is None:
        return "the machine has no memory left"
    return f"the cgroup's limit of {now.limit_bytes / _GIB:.3g} GiB"


def _signal_name(number: int) -> str:
    if signal.SIGRTMIN < number < signal.SIGRTMAX:  # these have no names of their own
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of this process's groups that limit memory, innermost first.

    A container may see its own group mounted as the root, whatever the group's path is called.
    """
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        parts = [part for part in path.split("/") if part]
        if ".." not in parts:
            yield from (base.joinpath(*parts[:depth]) for depth in range(len(parts), 0, -1))
        yield base


def _count(group: Path) -> int | None:
    for name in ("memory.events", "memory.oom_control"):
        for line in _text(group / name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    return None


def _limit(group: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        value = _text(group / name).strip()
        if value.isdecimal() and int(value) < _NO_LIMIT:
            return int(value)
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
