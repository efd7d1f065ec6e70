"""What is stored: samples of each engine start, the environment they were taken in, sessions of them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.records.kernels import KernelTable
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.variables import Variables

MOST_SESSIONS: Final = 20
"""How many sessions an entry keeps: the first `stats.ANCHOR_SESSIONS`, and the newest."""


class EngineSamples(BaseModel):
    """One engine start: what was measured on it. Stored as it is.

    Attributes:
        cold_start: whether it was the first start of this engine in its run, when caches may have been empty.
        discarded: how many iterations were warm-up.
        iterations: how many iterations counted.
        warmup: values of the discarded iterations, for the metrics that a gate looks at by default.
        samples: values of the measured iterations, by metric, in the order they ran.
        once: values that an engine has once, such as its load time.
        ttft_by_request: seconds; for each request of the workload the median TTFT over the iterations.
        passes: values of the iterations of the device pass, by metric; empty where there was none.
        kernels: of each rank what its GPU did in an iteration of the device pass; empty where there was none.
        no_device_pass: why there was none; empty where there was one, and where nobody asked for it.
        recorded: values of the custom metrics, by key; a metric that a run has once stands at its first engine start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cold_start: bool = False
    discarded: int = Field(ge=0)
    iterations: int = Field(ge=1)
    warmup: dict[str, list[float]] = Field(default_factory=dict)
    samples: dict[str, list[float]]
    once: dict[str, float] = Field(default_factory=dict)
    ttft_by_request: list[float] = Field(default_factory=list)
    passes: dict[str, list[float]] = Field(default_factory=dict)
    kernels: list[KernelTable] = Field(default_factory=list)
    no_device_pass: str = ""
    recorded: dict[str, list[float]] = Field(default_factory=dict)

    @property
    def measured(self) -> frozenset[str]:
        """The names of all metrics that have values; of a void measurement, custom metrics are known by name only."""
        return frozenset(
            (*self.samples, *self.once, *self.passes, *(key for key in self.recorded if self.recorded[key]))
        )

    def values(self, metric: str) -> list[float]:
        """The samples of a metric, one for a metric that an engine has once; empty when not measured."""
        if metric in self.once:
            return [self.once[metric]]
        return list(self.samples.get(metric) or self.passes.get(metric) or self.recorded.get(metric) or ())


class Environment(BaseModel):
    """Where and what was measured.

    Attributes:
        hard: keys that must match.
        soft: keys whose differences are reported.
        variables: of the engine's environment, without their values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hard: dict[str, str]
    soft: dict[str, str]
    variables: Variables = Field(default_factory=Variables)


class Session(BaseModel):
    """What one run recorded of one check.

    Attributes:
        recorded: when, as an ISO date and time.
        environment: that its engines ran in.
        engines: at least one.
        excluded: why an engine was left out.
        dropped: how many sessions of the entry lay between the one before it and this one, and are not stored any
            more: the two are no neighbours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded: str
    environment: Environment
    engines: list[EngineSamples] = Field(min_length=1)
    excluded: list[Problem] = Field(default_factory=list)
    dropped: int = Field(default=0, ge=0)


class Judging(BaseModel):
    """What a check is judged by.

    Attributes:
        gate: names of the metrics that decide; the sets of `--vllmperf-gate` are resolved.
        margin: tolerated relative change for metrics that have none of their own.
        margins: tolerated relative change by metric.
        limits: absolute limits that were in force, by metric, in its unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: list[str] = Field(min_length=1)
    margin: float = Field(ge=0, allow_inf_nan=False)
    margins: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    limits: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)


class Entry(BaseModel):
    """One check of one test: what was sent, to which engine, and the recorded sessions, oldest first.

    Attributes:
        engine: the engine, for a person.
        workload: the workload as stored.
        judging: the gate and margins of the test when its newest session was recorded.
        reason: why it was recorded anew; empty when nobody said.
        sessions: at least one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    workload: dict[str, Any]
    judging: Judging
    reason: str = ""
    sessions: list[Session] = Field(min_length=1)
