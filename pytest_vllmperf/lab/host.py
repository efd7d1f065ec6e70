"""Reads what the machine's CPUs do, from /proc. What cannot be read there is not known, and never an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_vllmperf.records.host import HostUse

PROC: Final = Path("/proc")
_FIELDS: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of /proc/stat, proc_stat(5); guests' time, which follows, is in that of users."""
_NOBODYS: Final = ("idle", "iowait", "steal")
_MHZ: Final = re.compile(r"^cpu MHz\s*:\s*([0-9.]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class CpuTimes:
    """What all CPUs together have done since the machine started, in ticks.

    Attributes:
        used: by anyone.
        stolen: by other machines of the hypervisor.
        total: with idle time.
    """

    used: int
    stolen: int
    total: int


@dataclass
class Watched:
    """What was seen of a span.

    Attributes:
        use: what the CPUs did in it; None while it lasts, and where that cannot be known.
    """

    use: HostUse | None = field(default=None)


@contextmanager
def watched(proc: Path = PROC) -> Iterator[Watched]:
    """Watch the machine for as long as the block lasts; the result is there after it."""
    seen, before = Watched(), cpu_times(proc)
    yield seen
    seen.use = between(before, cpu_times(proc), proc)


def between(before: CpuTimes | None, after: CpuTimes | None, proc: Path = PROC) -> HostUse | None:
    """What the CPUs did between two readings; None where one is missing, or no tick has passed."""
    if before is None or after is None or after.total <= before.total:
        return None
    total = after.total - before.total
    load, steal = (after.used - before.used) / total, (after.stolen - before.stolen) / total
    return HostUse(min(1.0, max(0.0, load)), min(1.0, max(0.0, steal)), frequency(proc))


def cpu_times(proc: Path = PROC) -> CpuTimes | None:
    """The machine's CPU time; None where there is no such file, or it has another form."""
    line = _text(proc / "stat").partition("\n")[0].split()
    if line[:1] != ["cpu"] or len(line) <= len(_FIELDS) or not all(one.isdecimal() for one in line[1:]):
        return None
    ticks = dict(zip(_FIELDS, map(int, line[1:]), strict=False))
    total = sum(ticks.values())
    return CpuTimes(total - sum(ticks[name] for name in _NOBODYS), ticks["steal"], total)


def frequency(proc: Path = PROC) -> float | None:
    """Hertz of the CPU that runs fastest now; None where the kernel does not tell it."""
    told = [float(found) for found in _MHZ.findall(_text(proc / "cpuinfo")) if found.count(".") <= 1 and found != "."]
    return max(told) * 1e6 if told and max(told) > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
