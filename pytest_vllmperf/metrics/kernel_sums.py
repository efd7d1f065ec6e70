"""Device passes of several engines as one: their kernel tables, all ranks added, the mean over engines. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pytest_vllmperf.records.kernels import KernelTable, KernelTime
from pytest_vllmperf.records.samples import EngineSamples

NOTHING: Final = KernelTime("others", 0.0, 0.0)


class Profiled(Protocol):
    """An engine start with the tables of its GPUs, one for each; empty without a device pass."""

    @property
    def kernels(self) -> Sequence[KernelTable]:
        """What each GPU did in an iteration."""


@dataclass(frozen=True)
class KernelSums:
    """What engines of one kind spend on each kernel in an iteration.

    Attributes:
        named: by name, the largest first; the part of a kernel that a table does not name is left out of it.
        rest: all that no table names.
        hidden: for a name, the most seconds of it that may be in the rest. Tables that list it, and tables without a
            rest, add nothing. In any other table it is no larger than the smallest kernel that has a name, nor than
            the rest.
        unnamed: the same for a name that no table lists.
        engines: how many had a table.
        ranks: how many tables an engine has, one for each of its GPUs.
    """

    named: dict[str, KernelTime] = field(default_factory=dict)
    rest: KernelTime = NOTHING
    hidden: dict[str, float] = field(default_factory=dict)
    unnamed: float = 0.0
    engines: int = 0
    ranks: int = 0

    @property
    def seconds(self) -> float:
        """The time of all of them."""
        return sum([*(one.seconds for one in self.named.values()), self.rest.seconds])

    def most_hidden(self, name: str) -> float:
        """The most seconds of this name that may be in the rest."""
        return self.hidden.get(name, self.unnamed)

    def of(self, name: str) -> KernelTime:
        """What is told of a name; zero for one that no table lists."""
        return self.named.get(name, KernelTime(name, 0.0, 0.0))


def kernel_sums(engines: Sequence[Profiled]) -> KernelSums:
    """Add up the tables of all ranks, and divide by the engines; those without a table do not count.

    Args:
        engines: any number.
    """
    profiled = [engine.kernels for engine in engines if engine.kernels]
    if not profiled:
        return KernelSums()
    tables = [table for ranks in profiled for table in ranks]
    count = len(profiled)
    rest = [table.rest for table in tables if table.rest is not None]
    unnamed = sum(map(_most_unnamed, tables)) / count
    listed: defaultdict[str, list[KernelTime]] = defaultdict(list)
    covered: defaultdict[str, list[float]] = defaultdict(list)
    for table in tables:
        for one in table.kernels:
            listed[one.name].append(one)
        for name in {one.name for one in table.kernels}:
            covered[name].append(_most_unnamed(table))
    named = [_mean(name, found, count) for name, found in listed.items()]
    return KernelSums(
        named={one.name: one for one in sorted(named, key=lambda one: (-one.seconds, one.name))},
        rest=_mean(NOTHING.name, rest, count),
        hidden={name: max(0.0, unnamed - sum(found) / count) for name, found in covered.items()},
        unnamed=unnamed,
        engines=count,
        ranks=max(map(len, profiled)),
    )


def no_device_pass(engines: Sequence[EngineSamples]) -> str:
    """Why none of these engines has a device pass, the newest reason; empty where one has, and where nobody knows."""
    if any(engine.passes for engine in engines):
        return ""
    return next((engine.no_device_pass for engine in reversed(engines) if engine.no_device_pass), "")


def _mean(name: str, found: Sequence[KernelTime], count: int) -> KernelTime:
    return KernelTime(name, sum(one.times for one in found) / count, sum(one.seconds for one in found) / count)


def _most_unnamed(table: KernelTable) -> float:
    """The most seconds that a kernel can have taken which a table does not name."""
    if table.rest is None:
        return 0.0
    return min([table.rest.seconds, *(one.seconds for one in table.kernels)])
