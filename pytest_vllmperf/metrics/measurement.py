"""`Measurement`: what a test holds in its hands, every metric an attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_vllmperf import stats
from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.metrics.device import cost_per_million_tokens
from pytest_vllmperf.metrics.table import DISTRIBUTIONS, METRICS
from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples, Environment


@dataclass(frozen=True)
class Distribution:
    """Percentiles of one quantity in seconds: of each iteration, then the median over iterations and engines."""

    measurement: Measurement
    name: str

    def __getattr__(self, point: str) -> float:
        """`mean`, `p50`, `p90`, `p95` or `p99`.

        Raises:
            NotMeasuredError: when the engine did not observe it.
            AttributeError: for any other name.
        """
        if point.startswith("_"):  # asked for by copy and pickle before the fields are there
            raise AttributeError(point)
        if f"{self.name}.{point}" not in METRICS:
            raise AttributeError(f"{self.name} has mean, p50, p90, p95 and p99, not {point}")
        return self.measurement.value(f"{self.name}.{point}")


@dataclass(frozen=True)
class Measurement:
    """One workload on one engine spec, from one engine start or several.

    Any metric of the table can be read as an attribute (`run.output_throughput`, in its unit of the table), a
    distribution through its points (`run.ttft.p50`, in seconds). What was not observed raises
    `NotMeasuredError`: missing is never zero.

    Attributes:
        spec_label: the engine, for a person.
        device: `cuda` or `cpu`.
        profile: the kind of hardware, as the folder of its baselines.
        workload: the workload as stored beside a baseline.
        environment: where it was measured.
        engines: what was measured on each engine start; at least one.
        problems: why the measurement is void; empty when it is sound.
        excluded: why engines were left out; one at most.
        gpus: how many GPUs an engine ran on.
        vram: where their memory went, on the last engine.
        traces: what NVML told of them while the last engine was measured; empty on a CPU.
    """

    spec_label: str
    device: str
    profile: str
    workload: Mapping[str, Any]
    environment: Environment
    engines: tuple[EngineSamples, ...]
    problems: tuple[Problem, ...] = ()
    excluded: tuple[Problem, ...] = ()
    gpus: int = 0
    vram: VramLedger | None = None
    traces: tuple[GpuTrace, ...] = ()

    @property
    def transient(self) -> bool:
        """Whether it is void, and another engine, a minute later, may well be free of all of its problems."""
        return bool(self.problems) and all(problem.transient for problem in self.problems)

    def cost_per_million_tokens(self, gpu_hour_price: float, metric: str = "output_throughput") -> float:
        """What a million tokens cost, in the currency of the price.

        Args:
            gpu_hour_price: of one GPU for one hour.
            metric: whose tokens: `output_throughput` or `total_token_throughput`.

        Raises:
            NotMeasuredError: on a CPU, or when the throughput was not measured.
        """
        if not self.gpus:
            raise NotMeasuredError(f"{self.spec_label} ran on no GPU: there is no price of a GPU hour to tell")
        return cost_per_million_tokens(self.value(metric), self.gpus, gpu_hour_price)

    def without(self, other: Measurement) -> Measurement:
        """This measurement, with another's engine left out and its reasons kept."""
        return replace(self, excluded=(*self.excluded, *other.problems))

    def with_engines_of(self, other: Measurement) -> Measurement:
        """This measurement and another of the same workload on the same spec, as one."""
        return replace(
            other,
            engines=self.engines + other.engines,
            problems=tuple(dict.fromkeys([*self.problems, *other.problems])),
            excluded=self.excluded + other.excluded,
            environment=self.environment,
        )

    def samples(self, metric: str) -> Sequence[Sequence[float]]:
        """The values of a metric, for each engine one per iteration; empty when not measured."""
        return [values for engine in self.engines if (values := engine.values(metric))]

    def value(self, metric: str) -> float:
        """The metric's value: the median over engines of the median over iterations, in its unit of the table.

        Raises:
            NotMeasuredError: when no engine observed it, or no metric has this name.
        """
        if metric not in METRICS:
            raise NotMeasuredError(f"no metric is called {metric!r}")
        engines = self.samples(metric)
        if not engines:
            raise NotMeasuredError(f"{METRICS[metric].label} was not measured on {self.spec_label}")
        return stats.center(engines)

    def __getattr__(self, name: str) -> Any:
        """A metric by its name, or a distribution."""
        if name in DISTRIBUTIONS:
            return Distribution(self, name)
        if name in METRICS:
            return self.value(name)
        raise AttributeError(f"a measurement has no {name!r}; see METRICS in pytest_vllmperf.metrics.table")
