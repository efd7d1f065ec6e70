"""`Attribution`: where the time of two sides differs, by the GPU's own clock, by kernel, and by part of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pytest_vllmperf.records.kernels import KernelTime


@dataclass(frozen=True)
class Change:
    """One figure before and after, in its unit of the table."""

    before: float
    after: float

    @property
    def difference(self) -> float:
        """After - before."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """After / before - 1; None where there was nothing before."""
        return self.after / self.before - 1 if self.before > 0 else None


class Seen(str, Enum):
    """On which sides a kernel runs."""

    BOTH = "both"
    NEW = "new"  # only after
    GONE = "gone"  # only before
    UNSURE = "not among the largest"  # of some engine, which may have it among its others


@dataclass(frozen=True)
class KernelChange:
    """One kernel in an iteration, before and after: all ranks added, the mean over engines.

    Attributes:
        name: shortened, see `metrics.kernel_names`.
        before: zero where it was not named.
        after: zero where it is not named.
        seen: on which sides it runs.
    """

    name: str
    before: KernelTime
    after: KernelTime
    seen: Seen = Seen.BOTH

    @property
    def seconds(self) -> Change:
        """Its time in an iteration."""
        return Change(self.before.seconds, self.after.seconds)

    @property
    def times(self) -> Change:
        """How often it runs in an iteration."""
        return Change(self.before.times, self.after.times)


@dataclass(frozen=True)
class Interval:
    """A relative change with its bounds, as fractions.

    Attributes:
        change: after / before - 1.
        low: lower bound.
        high: upper bound.
        confidence: of both bounds together, such as 0.99.
    """

    change: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Attribution:
    """Where the time of two sides differs.

    Attributes:
        gpu_time: in an iteration, of the rank with the most; None where a side has none.
        interval: of its relative change; None where there is none.
        kernels: what can be compared by name, the largest change first.
        ranks: how many GPUs the times of kernels are added over.
        others: all other kernels of each side together, those of `unsure` included; None where a side has no table.
        unsure: kernels that some engines name, and that others may have among those without a name: part of `others`.
        levels: other metrics of both sides by name, such as `gpu_idle_share`, the clocks, and the parts of a request.
        launches_differ: whether every engine after runs more kernels than all before, or every one fewer.
        no_pass_before: why there was no device pass before; empty where there was one, or nobody knows.
        no_pass_after: the same after.
    """

    gpu_time: Change | None = None
    interval: Interval | None = None
    kernels: tuple[KernelChange, ...] = ()
    ranks: int = 0
    others: KernelChange | None = None
    unsure: tuple[KernelChange, ...] = ()
    levels: dict[str, Change] = field(default_factory=dict)
    launches_differ: bool = False
    no_pass_before: str = ""
    no_pass_after: str = ""

    @property
    def total(self) -> Change | None:
        """The time of all kernels of all ranks; its change is that of `kernels` and `others` together."""
        if self.others is None:
            return None
        parts = [one.seconds for one in (*self.kernels, self.others)]
        return Change(sum(one.before for one in parts), sum(one.after for one in parts))

    def share(self, chosen: tuple[KernelChange, ...]) -> float | None:
        """What share of the change of the total these kernels explain.

        Others may make up for a part of it, so that it is above 1, or below 0. None where the total did not change.
        """
        total = self.total
        if total is None or total.difference == 0:
            return None
        return sum(one.seconds.difference for one in chosen) / total.difference
