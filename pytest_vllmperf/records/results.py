"""What a test came to, as it travels from the process that measured to the one that reports."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.records.details import StartDetails
from pytest_vllmperf.records.fit import Fit, Try
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.overload import Overload
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.records.samples import Entry, Judging, Session
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.records.stored import StoredBaseline
from pytest_vllmperf.records.verdict import Verdict


class ComparisonRecord(BaseModel):
    """What one `compare` came to.

    Attributes:
        a: the first engine, for a person.
        b: the reference.
        way: how the two shared the device.
        ratios: of the metrics that were asked for, in that order.
        quality: how far `a` says the same as `b`; None where it was not asked.
        excluded: why a round was left out; one at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    way: str
    ratios: tuple[Ratio, ...]
    quality: Quality | None = None
    excluded: tuple[Problem, ...] = ()


class Keeping(str, Enum):
    """What becomes of a checked session in the baseline file."""

    NOTHING = "nothing"
    NEW = "starts the baseline anew"
    APPENDED = "joins the baseline"


class CheckRecord(BaseModel):
    """What was measured, and what the verdict was.

    Attributes:
        module: the test module's path, as in its node id.
        name: the check's name in the module's baseline file.
        profile: folder of its baseline.
        engine: the engine, for a person.
        workload: the workload as stored.
        session: what was measured.
        judging: the gate and margins of the test.
        verdict: RECORDED, or what was decided.
        keeping: what becomes of its session in the baseline file.
        left_out: why it did not join its baseline, where it might have; empty otherwise.
        reason: why a baseline is recorded anew; empty when nobody said.
        ledger: where the device's memory went; None where nobody knows.
        notes: what of its environment cannot be compared with the baseline's, and what the load generator noted.
        values: metric -> value in the unit of the table.
        reference: what it was measured in turns with, and judged by; None where the stored baseline decides.
        by_baseline: what the stored baseline says of a check that is judged by its reference; None without one.
        attribution: where its time differs from what it is judged by; None where it was not judged.
        stored: the stored sessions that it was judged by, for a report; None without any.
        changed: how its environment differs from what it was judged by, each difference in words.
        roofline: the limits that its GPUs set; None where they are not known.
        details: of each engine start, for a report; empty where nobody asked for one.
        reference_details: the same of each engine start of the reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    name: str
    profile: str
    engine: str
    workload: dict[str, Any]
    session: Session
    judging: Judging
    verdict: Verdict
    keeping: Keeping = Keeping.NOTHING
    left_out: str = ""
    reason: str = ""
    ledger: VramLedger | None = None
    notes: tuple[str, ...] = ()
    values: dict[str, float]
    reference: Reference | None = None
    by_baseline: Verdict | None = None
    attribution: Attribution | None = None
    stored: StoredBaseline | None = None
    changed: tuple[str, ...] = ()
    roofline: RooflineLimits | None = None
    details: tuple[StartDetails, ...] = ()
    reference_details: tuple[StartDetails, ...] = ()

    @property
    def id(self) -> CheckId:
        """Which check of which test it is."""
        return CheckId.parse(self.module, self.name)

    def entry(self) -> Entry:
        """This record as a baseline of one session."""
        return Entry(
            engine=self.engine,
            workload=self.workload,
            judging=self.judging,
            reason=self.reason,
            sessions=[self.session],
        )


class MeasuredRecord(BaseModel):
    """A measurement that was not checked, such as one that a test asserts on itself.

    Attributes:
        engine: the engine, for a person.
        profile: the kind of hardware.
        workload: the workload as stored.
        session: what was measured.
        problems: why it is void; empty for one that counts.
        ledger: where the device's memory went; None where nobody knows.
        values: metric -> value in the unit of the table.
        roofline: the limits that its GPUs set; None where they are not known.
        details: of each engine start, for a report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    profile: str
    workload: dict[str, Any]
    session: Session
    problems: tuple[Problem, ...] = ()
    ledger: VramLedger | None = None
    values: dict[str, float]
    roofline: RooflineLimits | None = None
    details: tuple[StartDetails, ...] = ()


class OverloadRecord(BaseModel):
    """What one `overload` came to.

    Attributes:
        engine: the engine, for a person.
        seen: what the server did.
        problem: why it fails the test, in words; empty where it does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    seen: Overload
    problem: str = ""


class FitRecord(BaseModel):
    """What one `fit` found.

    Attributes:
        marker: the engine with the values that were found, as a marker; secrets are masked.
        gpu_memory_utilization: share of a GPU's memory; None where another argument says the size.
        kv_cache_memory_bytes: size of the KV cache; None where another argument says it.
        max_model_len: longest prompt plus output in tokens.
        tries: all that was tried, in that order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    marker: str
    gpu_memory_utilization: float | None
    kv_cache_memory_bytes: int | None
    max_model_len: int
    tries: tuple[Try, ...]

    @classmethod
    def of(cls, found: Fit) -> FitRecord:
        """The record of what a search found."""
        return cls(
            marker=found.marker,
            gpu_memory_utilization=found.gpu_memory_utilization,
            kv_cache_memory_bytes=found.kv_cache_memory_bytes,
            max_model_len=found.max_model_len,
            tries=found.tries,
        )


class TestResults(BaseModel):
    """All that one test came to.

    Attributes:
        checks: its checks, in order.
        comparisons: the test's node id and what each `compare` came to.
        rows: its rows of scorecards.
        asserted: whether anything was judged, recorded or looked at: a check, a comparison, a row, a value.
        unchecked: what was measured and not looked at, that nothing was measured, or which stored check was not made,
            in words.
        traces: of a test that failed, its node id and the trace of each engine.
        measured: measurements that were not checked.
        overloads: what each `overload` came to.
        fits: what each `fit` found.
        point: engine arguments that the `sweep` marker gave it; empty without one.
    """

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[CheckRecord, ...] = ()
    comparisons: tuple[tuple[str, ComparisonRecord], ...] = ()
    rows: tuple[Row, ...] = ()
    asserted: bool = False
    unchecked: tuple[str, ...] = ()
    traces: tuple[tuple[str, KernelTrace], ...] = ()
    measured: tuple[MeasuredRecord, ...] = ()
    overloads: tuple[OverloadRecord, ...] = ()
    fits: tuple[FitRecord, ...] = ()
    point: dict[str, Any] = Field(default_factory=dict)
