"""How a metric is declared: what it is, how it is judged, and the function that computes it.

A declaration is a descriptor. It stands as a class attribute in one of the subjects (`serving`, `counters`, ...), which
`Measurement` inherits: on the class it is the declaration, on a measurement it is the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, overload

from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.observed import EngineStart, Iteration, PassIteration
from pytest_vllmperf.metrics.units import Unit
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.stats import Direction


class Measured(Protocol):
    """What metrics can be read from."""

    def value(self, metric: str) -> float:
        """The value of a metric, in its unit."""


class Clock(Enum):
    """Whose clock or counter a figure comes from; figures of different clocks are not compared."""

    ENGINE = "engine"  # the timestamps of the engine and of its processes
    CLIENT = "client"  # bytes at the socket
    BOUNDARY = "engine; client over HTTP"  # whichever drives the engine
    DEVICE = "device"  # the GPU's own counters
    NONE = "none"  # no time is in it


class Start(Enum):
    """Which engine starts a metric is compared between."""

    ANY = "any"
    WARM = "warm"  # not the first start of an engine in a run: what that finds in caches differs from run to run
    COLD = "cold"  # only that first start, for information: caches outside the engine decide it


class MetricClass(Enum):
    """What kind of judgement suits a metric."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    TAIL = "tail"
    EXACT = "exact"
    CPU_TIME = "cpu_time"
    LOAD = "load"
    MEMORY = "memory"
    DEVICE = "device"
    GPU_TIME = "gpu_time"
    HOST = "host"
    CUSTOM = "custom"

    @property
    def exact(self) -> bool:
        """Whether noise cannot move it: any difference is a change."""
        return self is MetricClass.EXACT

    @property
    def least_margin(self) -> float:
        """The margin that one given for all metrics never tightens; what is noisier by nature has a wider one."""
        return {MetricClass.TAIL: 0.10, MetricClass.LOAD: 0.20}.get(self, 0.0)

    @property
    def own_margin(self) -> float | None:
        """The margin of a class that one given for all metrics does not concern; None where that one holds."""
        return 0.01 if self is MetricClass.GPU_TIME else None


def requests_of(engine: EngineSamples) -> float:
    """How many requests each iteration of an engine observed."""
    return len(engine.ttft_by_request)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: in files, options and `Measurement.value`; the attribute has an underscore for a dot.
        label: in a report.
        unit: of samples and values, and how a report shows it.
        better: the direction that counts as an improvement.
        kind: its class.
        clock: where its figures come from.
        formula: what it is made of, with the engine's own names of the timestamps.
        source: what the engine, or the machine, is asked for it.
        gates: the sets of a gate that it belongs to.
        if_measured: whether it belongs to them only where it was measured, as what a test has to ask for.
        start: which engine starts it is compared between.
        zero: whether zero is a value of it although it is not exact, such as of a span that can be empty.
        decides_from: how many observations an iteration needs before the metric decides; 0 for any number.
        observations: how many an engine's iterations had.
        by_request: its samples by request, where those are compared instead of the iterations; None where not.
        once: whether a run has one value of it, whatever the number of engine starts: another one shows nothing new.
        leaves_out: the name of a metric that is left out of this one where an engine shows it: figures with it and
            without it are not compared. Empty for all that have one definition.
        custom: whether a test has declared it; its samples are what that test recorded, and no function computes them.
        of: computes it from one iteration; None for what the iteration has not, or for a metric of a start.
        of_start: computes it from one engine start; None for a metric of an iteration.
        of_pass: computes it from one iteration of the device pass; None for all others.
    """

    name: str
    label: str
    unit: Unit
    better: Direction
    kind: MetricClass
    clock: Clock
    formula: str
    source: str = ""
    gates: tuple[Gate, ...] = ()
    if_measured: bool = False
    start: Start = Start.ANY
    zero: bool = False
    decides_from: int = 0
    observations: Callable[[EngineSamples], float] = requests_of
    by_request: Callable[[EngineSamples], Sequence[float]] | None = None
    once: bool = False
    leaves_out: str = ""
    custom: bool = False
    of: Callable[[Iteration], float | None] | None = None
    of_start: Callable[[EngineStart], float | None] | None = None
    of_pass: Callable[[PassIteration], float | None] | None = None

    @overload
    def __get__(self, instance: None, owner: type) -> Metric: ...
    @overload
    def __get__(self, instance: Measured, owner: type) -> float: ...
    def __get__(self, instance: Measured | None, owner: type) -> Metric | float:
        """The declaration on a class, the value on a measurement."""
        return self if instance is None else instance.value(self.name)

    def __set_name__(self, owner: type, attribute: str) -> None:
        """Refuse an attribute that is not called like its metric."""
        check_attribute(self.name, attribute)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What this declaration adds to the table."""
        return (self,)

    @property
    def exact(self) -> bool:
        """Whether noise cannot move it: any difference is a change."""
        return self.kind.exact

    @property
    def noisy(self) -> bool:
        """Whether noise can move it, so that it counts in the run's budget of false alarms."""
        return not self.kind.exact

    @property
    def may_be_zero(self) -> bool:
        """Whether zero is a value. A rate or a duration has none: a clock too coarse has observed nothing."""
        return self.exact or self.zero

    @property
    def decides(self) -> bool:
        """Whether it can decide a check; what only cold starts show cannot."""
        return self.start is not Start.COLD

    def counted(self, engine: EngineSamples) -> list[float]:
        """The samples of an engine that are compared; none where its kind of start does not count."""
        comparable = {Start.ANY: True, Start.WARM: not engine.cold_start, Start.COLD: engine.cold_start}
        return engine.values(self.name) if comparable[self.start] else []

    def too_few(self, engines: Sequence[EngineSamples]) -> str:
        """Why these engines observed too little for the metric to decide; empty where it was enough.

        Args:
            engines: at least one.
        """
        fewest = min(self.observations(engine) for engine in engines)
        if fewest >= self.decides_from:
            return ""
        what = "requests" if self.observations is requests_of else "tokens"
        return (
            f"{self.label} needs at least {self.decides_from:,} {what} to be gated; this workload has {fewest:,.0f}. "
            f"Gate {self.name.partition('.')[0]}.p50, or send more requests"
        )

    def shown(self, iteration: Iteration) -> dict[str, float]:
        """Its value in one iteration, by name; empty where that was not observed."""
        return self._observed(None if self.of is None else self.of(iteration))

    def shown_by_start(self, start: EngineStart) -> dict[str, float]:
        """Its value for one engine start, by name; empty where that was not observed."""
        return self._observed(None if self.of_start is None else self.of_start(start))

    def shown_by_pass(self, iteration: PassIteration) -> dict[str, float]:
        """Its value in one iteration of the device pass, by name; empty where that was not observed."""
        return self._observed(None if self.of_pass is None else self.of_pass(iteration))

    def _observed(self, value: float | None) -> dict[str, float]:
        known = value is not None and (value > 0 or self.may_be_zero)
        return {self.name: float(value)} if value is not None and known else {}


def check_attribute(name: str, attribute: str) -> None:
    """Refuse an attribute that is not called like its metric (TypeError): it could not be found by its name."""
    if attribute != name.replace(".", "_"):
        raise TypeError(f"the metric {name!r} is declared as the attribute {attribute!r}")
