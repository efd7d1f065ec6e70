"""Checks and measurements of a run as data: what each metric came to, on which engine starts, judged by what.

Times are in seconds, sizes in bytes, relative changes are fractions: 0.05 is 5 %. What was not measured is None or
absent, never zero.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.records.kernels import KernelTable
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.requests import RequestColumns, Requests
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.records.timeline import EngineTimeline
from pytest_vllmperf.records.verdict import Drift, LimitVerdict, Status

Better = Literal["higher", "lower"]
Numbers = tuple[float, ...]


class Part(BaseModel):
    """A part of a report. One that came out of a file may hold nothing that this release does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Judged(Part):
    """How one metric was judged.

    Attributes:
        status: its verdict.
        baseline: value of what it is judged by, in the unit of the metric; None where that was not measured there.
        now: value of the new engine starts; None where it was not measured.
        change: now against baseline; None where it has no meaning.
        low: lower end of the interval of the change; None for an exact metric.
        high: upper end.
        confidence: of that interval, such as 0.99.
        margin: tolerated change for the worse.
        engines: new engine starts that it rests on.
        iterations: of each of them; requests, where they are paired.
        paired: whether requests were compared one by one.
        reason: why it does not decide or cannot be judged, in words; empty otherwise.
        clearly_better: whether the interval lies beyond the margin on the good side.
        drift: the change that crept in, where the status is DRIFTED.
        against: the reference interpreter that it was judged by; empty for a stored baseline.
        detectable: smallest slowdown that the baseline detects 80 % of the time; None for an exact metric.
        session_sd: relative standard deviation between sessions; None for an exact metric.
        engine_sd: relative standard deviation between engine starts of a session; None for an exact metric.
    """

    status: Status
    baseline: float | None
    now: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    margin: float
    engines: int = 0
    iterations: int = 0
    paired: bool = False
    reason: str = ""
    clearly_better: bool = False
    drift: Drift | None = None
    against: str = ""
    detectable: float | None = None
    session_sd: float | None = None
    engine_sd: float | None = None


class MetricReport(Part):
    """One metric of one check or measurement.

    Attributes:
        name: as in options and in `run.value(name)`.
        label: for a person.
        unit: symbol of the unit of all values; empty for a plain count.
        better: which way is better.
        kind: the class of the metric, see docs/metrics.md.
        clock: whose clock or counter it comes from.
        gated: whether it decides the check.
        value: median over engine starts of the median over iterations; None where it was not measured.
        samples: for each engine start its iterations, in order; one value for what a start has once. Empty for a start
            that did not measure it.
        reference: the same of the reference interpreter, for a check in turns.
        judged: the verdict on it; None for a metric that was not judged.
    """

    name: str
    label: str
    unit: str
    better: Better
    kind: str
    clock: str
    gated: bool = False
    value: float | None
    samples: tuple[Numbers, ...] = ()
    reference: tuple[Numbers, ...] = ()
    judged: Judged | None = None


class EngineStart(Part):
    """One engine start; its samples stand in the metrics.

    Attributes:
        cold_start: whether it was the first start of this engine in its run.
        discarded: warm-up iterations.
        iterations: counted iterations.
        warmup: values of the warm-up iterations, for the metrics that a gate looks at by default.
        ttft_by_request: seconds; for each request of the workload the median over the iterations.
        kernels: of each GPU what it did in an iteration of the device pass; empty without one.
        no_device_pass: why there was no device pass; empty where there was one, or nobody asked for it.
        requests: its single requests, or an even choice of them; None where nobody knows them.
        timeline: the memory of its GPUs over time; None on a CPU, and where nobody knows.
    """

    cold_start: bool
    discarded: int
    iterations: int
    warmup: dict[str, Numbers] = Field(default_factory=dict)
    ttft_by_request: Numbers = ()
    kernels: tuple[KernelTable, ...] = ()
    no_device_pass: str = ""
    requests: RequestColumns | None = None
    timeline: EngineTimeline | None = None


class EnvironmentReport(Part):
    """Where and what was measured. Values of environment variables are not in it.

    Attributes:
        hard: what has to match for a comparison.
        soft: what may differ, and is reported.
        variables: names of the variables that the test gives its engine.
    """

    hard: dict[str, str]
    soft: dict[str, str]
    variables: tuple[str, ...] = ()


class MeasurementReport(Part):
    """A measurement.

    Attributes:
        engine: the engine, for a person; secrets are masked.
        profile: the kind of hardware, which names the folder of its baseline.
        workload: as stored in the baseline file.
        measured: when it ended, as an ISO date and time.
        environment: that it was measured in.
        engines: one entry for each engine start.
        metrics: by name, in the order of the table of metrics.
        problems: why it is void; empty for one that counts.
        excluded: why an engine start was left out.
        ledger: where the device's memory went; None where nobody knows.
        roofline: the limits that its GPUs set; None on a CPU, and where they are not known.
    """

    engine: str
    profile: str
    workload: dict[str, Any]
    measured: str
    environment: EnvironmentReport
    engines: tuple[EngineStart, ...]
    metrics: dict[str, MetricReport]
    problems: tuple[Problem, ...] = ()
    excluded: tuple[Problem, ...] = ()
    ledger: VramLedger | None = None
    roofline: RooflineLimits | None = None

    @property
    def requests(self) -> Requests:
        """Its single requests, of all engine starts; of many an even choice, see `left_out`."""
        return Requests.of([start.requests for start in self.engines])


class SessionReport(Part):
    """One stored session that a check was judged by.

    Attributes:
        recorded: when, as an ISO date and time.
        values: for each judged metric the median of each engine start.
    """

    recorded: str
    values: dict[str, Numbers]


class BaselineReport(Part):
    """The stored baseline that a check was judged by.

    Attributes:
        sessions: oldest first.
        environment: of the newest session.
        ttft_by_request: seconds; for each request the median over all stored engine starts.
    """

    sessions: tuple[SessionReport, ...]
    environment: EnvironmentReport
    ttft_by_request: Numbers = ()


class ReferenceReport(Part):
    """What a check was measured in turns with; its samples stand in the metrics.

    Attributes:
        name: its vLLM and its interpreter, for a person.
        way: how both shared the device.
        environment: that it was measured in.
        engines: one entry for each engine start.
    """

    name: str
    way: str
    environment: EnvironmentReport
    engines: tuple[EngineStart, ...]


class VerdictReport(Part):
    """A verdict that does not decide: what the stored baseline says of a check that is judged by its reference.

    Attributes:
        status: the worst of its metrics, or why there was nothing to judge.
        reasons: in words, why there was nothing to judge.
        metrics: by name.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    metrics: dict[str, Judged] = Field(default_factory=dict)


class CheckReport(MeasurementReport):
    """A check: a measurement and the verdict on it.

    Attributes:
        name: its own name; empty for the only check of a test without one.
        entry: its name in the baseline file of its module.
        status: the verdict.
        reasons: why there was nothing to judge, in words.
        gate: names of the metrics that decide.
        keeping: what becomes of its session in the baseline file, in words.
        left_out: why it did not join its baseline, where it might have; empty otherwise.
        reason: why the baseline is recorded anew; empty when nobody said.
        changed: how the environment differs from that of what it is judged by, each difference in words.
        notes: what a person should know.
        baseline: the stored sessions that it was judged by; None without any.
        reference: what it was measured in turns with; None without one.
        by_baseline: what the stored baseline says of a check that is judged by its reference; None without one.
        attribution: where the time differs from what it is judged by; None where it was not judged.
        limits: metrics with an absolute limit, and whether it is kept.
    """

    name: str
    entry: str
    status: Status
    reasons: tuple[str, ...] = ()
    gate: tuple[str, ...]
    keeping: str
    left_out: str = ""
    reason: str = ""
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    baseline: BaselineReport | None = None
    reference: ReferenceReport | None = None
    by_baseline: VerdictReport | None = None
    attribution: Attribution | None = None
    limits: tuple[LimitVerdict, ...] = ()
