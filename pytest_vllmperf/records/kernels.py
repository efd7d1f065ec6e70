"""What a GPU did by its own clock: kernels, and what they come to in an iteration. Times in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.records.run import RunResult

STORED_KERNELS: Final = 40
"""So many kernels of an engine are kept by name, the largest; all others together are the rest."""


class KernelTime(NamedTuple):
    """What one kernel, or one kind of copy, took in an iteration.

    Attributes:
        name: shortened, see `metrics.kernel_names`.
        times: how often it ran; a mean over iterations may be no whole number.
        seconds: its durations, added up.
    """

    name: str
    times: float
    seconds: float


class KernelTable(BaseModel):
    """The kernels of one rank in an iteration, the mean over the iterations of a device pass. Stored as it is.

    Attributes:
        kernels: the largest by time, at most `STORED_KERNELS`, the largest first.
        rest: all others together; its name says how many names they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernels: list[KernelTime] = Field(default_factory=list)
    rest: KernelTime | None = None

    @property
    def seconds(self) -> float:
        """The time of all of them."""
        return sum(one.seconds for one in self.all)

    @property
    def all(self) -> list[KernelTime]:
        """The largest kernels, and the rest where there is one."""
        return [*self.kernels, *([] if self.rest is None else [self.rest])]


@dataclass(frozen=True)
class Collective:
    """How long a collective kernel ran on one rank, each time. It ends when the last rank has joined it.

    Attributes:
        name: in full.
        phase: of the engine steps that launched it: `decode`, `prefill`, or empty for neither.
        seconds: each duration, in order.
    """

    name: str
    phase: str
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class RankUse:
    """What the GPU of one rank did in one iteration, as CUPTI recorded it.

    Attributes:
        count: kernels, copies and sets.
        total: their durations, added up.
        busy: the time in which at least one was running.
        span: from the first to the last.
        kernels: by full name, in any order.
        decode_steps: engine steps that computed one token of each of their requests.
        decode: durations of what these launched, added up.
        prefill_steps: all other engine steps.
        prefill: durations of what these launched, added up.
        stage: of pipeline parallelism, that it belongs to: ranks of one stage run the same kernels.
        collectives: each run of each collective kernel, by name and phase; they are among the kernels. Empty once the
            ranks have been compared: there may be hundreds of thousands.
        collective: durations of the collective kernels, added up; 0 until the ranks have been compared.
        waiting: seconds for which its collective kernels waited for other ranks, see `metrics.waiting`: no other
            attribute but `busy` and `span` contains them. None where nobody knows, so that they are in all of them.
    """

    count: int
    total: float
    busy: float
    span: float
    kernels: tuple[KernelTime, ...]
    decode_steps: int = 0
    decode: float = 0.0
    prefill_steps: int = 0
    prefill: float = 0.0
    stage: int = 0
    collectives: tuple[Collective, ...] = ()
    collective: float = 0.0
    waiting: float | None = None


@dataclass(frozen=True)
class KernelTrace:
    """A Chrome trace of one iteration of one engine.

    Attributes:
        file: where it lies for now, in gzip; None where there is none.
        reason: why there is none, in words; empty where there is one.
    """

    file: Path | None
    reason: str = ""


@dataclass(frozen=True)
class ProfiledIteration:
    """One iteration of a device pass.

    Attributes:
        ranks: what the GPU of each rank did, without waiting for the others as far as it is known; at least one.
        result: what the engine reported of it. Its times are those of an engine with a profiler attached.
    """

    ranks: tuple[RankUse, ...]
    result: RunResult


@dataclass(frozen=True)
class DevicePass:
    """What an engine's GPUs did by their own clock, in iterations after the counted ones.

    Attributes:
        iterations: empty where the pass was not made.
        reason: why it was not made, in words; empty where it was.
    """

    iterations: Sequence[ProfiledIteration] = field(default=(), repr=False)
    reason: str = ""
