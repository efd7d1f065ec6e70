"""Metrics that are one quantity of many requests or tokens: its mean and percentiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Final, NoReturn, overload

from pytest_vllmperf import stats
from pytest_vllmperf.errors import NotMeasuredError, did_you_mean
from pytest_vllmperf.metrics.declaration import Clock, Measured, Metric, MetricClass, check_attribute, requests_of
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.observed import EngineStart, Iteration, PassIteration
from pytest_vllmperf.metrics.units import SECONDS
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.stats import Direction, FloatArray

_POINTS: Final = {
    "mean": (MetricClass.LATENCY, 0),
    "p50": (MetricClass.LATENCY, 0),
    "p90": (MetricClass.TAIL, 250),
    "p95": (MetricClass.TAIL, 500),
    "p99": (MetricClass.TAIL, 2000),
}
"""The class of each point, and from how many observations on it decides: some twenty have to lie beyond it."""
_MEDIAN: Final = "p50"


@dataclass(frozen=True, repr=False)
class Distribution:
    """Mean and percentiles of one quantity in seconds: of each iteration, then the median over iterations and engines.

    Attributes:
        measurement: where it was measured.
        name: of the quantity, such as `ttft`.
    """

    measurement: Measured
    name: str

    @property
    def mean(self) -> float:
        """The mean, in seconds."""
        return self._point("mean")

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return self._point("p50")

    @property
    def p90(self) -> float:
        """The 90th percentile, in seconds."""
        return self._point("p90")

    @property
    def p95(self) -> float:
        """The 95th percentile, in seconds."""
        return self._point("p95")

    @property
    def p99(self) -> float:
        """The 99th percentile, in seconds."""
        return self._point("p99")

    def _point(self, point: str) -> float:
        return self.measurement.value(f"{self.name}.{point}")

    def __repr__(self) -> str:
        """Short, as a failed assertion shows it."""
        try:
            return f"<{self.name} p50={SECONDS.text(self.p50)} p99={SECONDS.text(self.p99)}>"
        except NotMeasuredError:
            return f"<{self.name}: not measured>"

    if not TYPE_CHECKING:  # a type checker knows the points, and refuses what is none

        def __getattr__(self, point: str) -> NoReturn:
            """What is no point (AttributeError)."""
            if point.startswith("_"):  # asked for by copy and pickle before the fields are there
                raise AttributeError(point)
            hint = did_you_mean(f"{self.name}.{point}", [f"{self.name}.{known}" for known in _POINTS])
            raise AttributeError(f"{self.name} has {', '.join(_POINTS)}, not {point}{hint}")


@dataclass(frozen=True)
class DistributionMetrics:
    """The declaration of a distribution; a descriptor, as `Metric` is.

    Attributes:
        name: of the quantity; its metrics are called `ttft.p50` and so on.
        label: in a report.
        clock: where its figures come from.
        formula: of one observation.
        source: what the engine is asked for it.
        of_request: seconds of one finished request, None where it has none; for what is observed once a request.
        of: seconds of all observations in an iteration; for any other.
        gates: the sets of a gate that its median belongs to.
        zero: whether zero is a value, as of a span that can be empty.
        over: what is observed.
        observations: how many of it an engine's iterations had.
        stored_by_request: its samples by request, where its median is compared request by request; None where not.
    """

    name: str
    label: str
    clock: Clock
    formula: str
    source: str = ""
    of_request: Callable[[RequestRecord], float | None] | None = None
    of: Callable[[Iteration], Sequence[float] | FloatArray] | None = None
    gates: tuple[Gate, ...] = ()
    zero: bool = False
    over: str = "requests"
    observations: Callable[[EngineSamples], float] = requests_of
    stored_by_request: Callable[[EngineSamples], Sequence[float]] | None = None

    @overload
    def __get__(self, instance: None, owner: type) -> DistributionMetrics: ...
    @overload
    def __get__(self, instance: Measured, owner: type) -> Distribution: ...
    def __get__(self, instance: Measured | None, owner: type) -> DistributionMetrics | Distribution:
        """The declaration on a class, the distribution on a measurement."""
        return self if instance is None else Distribution(instance, self.name)

    def __set_name__(self, owner: type, attribute: str) -> None:
        """Refuse an attribute that is not called like its quantity."""
        check_attribute(self.name, attribute)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """What this declaration adds to the table: its points."""
        return tuple(self._metric(point, *_POINTS[point]) for point in _POINTS)

    def _metric(self, point: str, kind: MetricClass, decides_from: int) -> Metric:
        middle = point == _MEDIAN
        return Metric(
            name=f"{self.name}.{point}",
            label=f"{self.label} {point}",
            unit=SECONDS,
            better=Direction.LOWER,
            kind=kind,
            clock=self.clock,
            formula=f"{point} over {self.over} of: {self.formula}",
            source=self.source,
            gates=self.gates if middle else (),
            zero=self.zero,
            decides_from=decides_from,
            observations=self.observations,
            by_request=self.stored_by_request if middle else None,
        )

    def shown(self, iteration: Iteration) -> dict[str, float]:
        """Its points in one iteration, by name; what was not observed is absent."""
        observed = self._observed(iteration)
        if not len(observed):
            return {}
        points = stats.summarize(observed)
        return {
            metric.name: value
            for metric, value in zip(self.metrics, (points[point] for point in _POINTS), strict=True)
            if value > 0 or metric.may_be_zero
        }

    def shown_by_pass(self, iteration: PassIteration) -> dict[str, float]:  # noqa: ARG002 - as a metric has it
        """Nothing: requests are looked at in measured iterations."""
        return {}

    def shown_by_start(self, start: EngineStart) -> dict[str, float]:  # noqa: ARG002 - as a metric has it
        """Nothing: a distribution belongs to an iteration."""
        return {}

    def _observed(self, iteration: Iteration) -> Sequence[float] | FloatArray:
        if self.of is not None:
            return self.of(iteration)
        assert self.of_request is not None
        return [value for one in iteration.requests if (value := self.of_request(one)) is not None]

    def by_request(self, iterations: Sequence[RunResult]) -> list[float]:
        """For each request the median over iterations; empty unless all requests finished in all iterations."""
        assert self.of_request is not None
        requests = [request for result in iterations for request in result.requests]
        if any(request.finish_reason is None for request in requests):
            return []
        columns: dict[int, list[float]] = {}
        for request in requests:
            if (value := self.of_request(request)) is not None:
                columns.setdefault(request.index, []).append(value)
        return [median(columns[index]) for index in sorted(columns)]
