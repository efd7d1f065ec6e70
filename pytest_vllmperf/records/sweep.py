"""Points of a sweep as they were measured, and what is found among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf import stats
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples

Values = dict[str, Any]
"""The name of each axis, and its value at a point, as JSON has it."""


class PointResult(BaseModel):
    """What one point came to.

    Attributes:
        settings: the value of each axis.
        reason: why it failed, in a few words, such as `out of memory`; empty for a point that was measured.
        detail: the same in the engine's words.
        profile: the kind of hardware; empty where no engine came so far.
        versions: of what the engine is made of, such as vLLM; empty where no engine came so far.
        problems: why its figures are void.
        engines: the samples of each engine that it was measured on; the first has one, each replicate adds one.
        requests: of one iteration.
        seconds: that the first measurement took, with the start of the engine where `started` says so.
        started: whether an engine was started for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: Values
    reason: str = ""
    detail: str = ""
    profile: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    engines: tuple[EngineSamples, ...] = ()
    requests: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    started: bool = False

    @property
    def sound(self) -> bool:
        """Whether it has figures that count."""
        return bool(self.engines) and not self.reason and not self.problems

    @property
    def preempting(self) -> bool:
        """Whether requests were thrown out of the KV cache."""
        return any(count > 0 for values in self.samples("preemptions") for count in values)

    @property
    def words(self) -> str:
        """What is to be said of it in a few words; empty for a point of which nothing is."""
        if self.reason:
            return self.reason
        if self.problems:
            return f"void: {self.problems[0].rule}"
        return "preempting" if self.preempting else ""

    def samples(self, metric: str) -> list[list[float]]:
        """The values of a metric, for each engine one per iteration; empty where it was not measured."""
        return [values for engine in self.engines if (values := engine.values(metric))]

    def value(self, metric: str) -> float | None:
        """The median over engines of the median over iterations; None where it was not measured."""
        measured = self.samples(metric)
        return stats.center(measured) if measured else None


@dataclass(frozen=True)
class Knee:
    """Where more load brings no more throughput worth having; see `sweep.knee` for the rule.

    Attributes:
        axis: the load.
        others: the values of all other axes.
        load: at the knee.
        low: lower end of its 95 % interval, a load that was measured.
        high: upper end.
        steps: how many steps of the grid lie between both.
        at_end: whether it is the largest load that was measured: the knee may lie beyond.
        without: loads of the curve that failed or are void; the knee may be another with them.
    """

    axis: str
    others: Values
    load: float
    low: float
    high: float
    steps: int
    at_end: bool
    without: tuple[float, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether the interval spans one step of the grid at most."""
        return self.steps <= 1


@dataclass(frozen=True)
class Cliff:
    """Throughput that falls although the load grows.

    Attributes:
        axis: the load.
        others: the values of all other axes.
        before: the smaller load.
        after: the next one.
        ratio: throughput there over throughput before.
        low: lower end of its interval; the intervals of all steps of a curve hold together with 95 %.
        high: upper end.
    """

    axis: str
    others: Values
    before: float
    after: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """What a point is judged by.

    Attributes:
        result: the point.
        throughput: output tokens/s.
        ttft: seconds; p99, or p95 where an iteration has too few requests.
        per_user: output tokens/s of one user: 1 / TPOT p50.
    """

    result: PointResult
    throughput: float | None
    ttft: float | None
    per_user: float | None


@dataclass(frozen=True)
class Findings:
    """All that a sweep came to.

    Attributes:
        name: of the study.
        engine: for a person.
        ttft: the metric that stands for time to first token.
        metric: what stages are decided by.
        figures: of each point, in the order of the plan.
        front: places in `figures` of points that no other is better than.
        knees: one for each curve.
        cliffs: between neighbours of a curve.
        best: the axes whose best value was chosen on the way, in the order of the stages.
        near: of each such axis the values that came so close to the best that one engine each does not decide it.
        missing: points that are not measured yet.
    """

    name: str
    engine: str
    ttft: str
    metric: str
    figures: tuple[Figures, ...]
    front: tuple[int, ...] = ()
    knees: tuple[Knee, ...] = ()
    cliffs: tuple[Cliff, ...] = ()
    best: Values = field(default_factory=dict)
    near: dict[str, list[Any]] = field(default_factory=dict)
    missing: int = 0
