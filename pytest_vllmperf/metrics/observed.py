"""What the functions of metrics compute from: one iteration, or one engine start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_vllmperf.metrics import promises
from pytest_vllmperf.metrics.roofline import Roofline
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.engine import EngineFacts, MemoryFacts
from pytest_vllmperf.records.kernels import ProfiledIteration, RankUse
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.served import Slo


@dataclass(frozen=True)
class Iteration:
    """One iteration, as an engine reported it and as it was seen from outside.

    Requests that did not finish count for nothing.

    Attributes:
        result: what the engine reported.
        use: what its devices did meanwhile; None where nobody looked.
        roofline: of the engine; None where it is unknown.
        slo: what was promised of each request; None where nothing was.
    """

    result: RunResult
    use: GpuUse | None = None
    roofline: Roofline | None = None
    slo: Slo | None = None

    @cached_property
    def requests(self) -> list[RequestRecord]:
        """The finished requests."""
        return self.result.finished

    @cached_property
    def prompt_tokens(self) -> int:
        """Of all finished requests."""
        return sum(one.prompt_tokens for one in self.requests)

    @cached_property
    def output_tokens(self) -> int:
        """Of all finished requests."""
        return sum(one.output_tokens for one in self.requests)

    @cached_property
    def duration(self) -> float:
        """Seconds from the first queued_ts to the last last_token_ts; 0 where nothing finished."""
        begin, end = self.result.span
        return end - begin

    def per_second(self, amount: float) -> float | None:
        """A rate over the duration; None where the iteration took no time."""
        return amount / self.duration if self.duration > 0 else None

    @property
    def kept(self) -> int | None:
        """How many requests kept the promise; None where nothing was promised."""
        return None if self.slo is None else promises.kept(self.result, self.slo)

    @property
    def goodput(self) -> float | None:
        """The share of all requests that kept the promise; None where nothing was promised."""
        return None if self.slo is None else promises.goodput(self.result, self.slo)

    @property
    def energy(self) -> float | None:
        """Joules that the devices took; None where nobody knows."""
        return None if self.use is None else self.use.energy


@dataclass(frozen=True)
class PassIteration:
    """One iteration of a device pass.

    Attributes:
        profiled: what was recorded of the GPUs, without waiting for other ranks, and what the engine reported.
        duration: seconds of a measured iteration, the median: without a profiler.
        use: what NVML told of the devices meanwhile; None where nobody looked.
    """

    profiled: ProfiledIteration
    duration: float
    use: GpuUse | None = None

    @property
    def waits(self) -> list[float]:
        """How long each rank waited for others; ranks of which that is not known are left out."""
        return [rank.waiting for rank in self.profiled.ranks if rank.waiting is not None]

    @property
    def slowest(self) -> RankUse:
        """The rank with the most GPU time."""
        return max(self.profiled.ranks, key=lambda rank: rank.total)


@dataclass(frozen=True)
class EngineStart:
    """One start of an engine.

    Attributes:
        facts: what the engine reported of itself.
        cold: whether it was the first start of this engine in the run, when caches may have been empty.
        device_bytes: memory of its devices that it held after the last iteration; None where that is not known.
    """

    facts: EngineFacts
    cold: bool = False
    device_bytes: int | None = None

    @property
    def memory(self) -> MemoryFacts:
        """Where its devices' memory went; nothing is known of it on a CPU."""
        return self.facts.memory or MemoryFacts(None, None, None, None)

    def load_time(self, part: str) -> float | None:
        """Seconds of a part of its start; None where the engine did not report it."""
        return self.facts.load_time.get(part)
