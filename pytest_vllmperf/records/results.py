"""What a test came to, as it travels from the process that measured to the one that reports."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.samples import Entry, Judging, Session
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.records.verdict import Outlook, Verdict


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
        verdict: None when it was recorded instead of judged.
        kept: whether its session goes into the baseline: as a new one without a verdict, beside the others with one.
        reason: why a baseline is recorded anew; empty when nobody said.
        outlook: what the baseline will be able to tell, where one is kept.
        ledger: where the device's memory went; None where nobody knows.
        values: metric -> value in the unit of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    name: str
    profile: str
    engine: str
    workload: dict[str, Any]
    session: Session
    judging: Judging
    verdict: Verdict | None
    kept: bool = False
    reason: str = ""
    outlook: tuple[Outlook, ...] = ()
    ledger: VramLedger | None = None
    values: dict[str, float]

    def entry(self) -> Entry:
        """This record as a baseline of one session."""
        return Entry(
            engine=self.engine,
            workload=self.workload,
            judging=self.judging,
            reason=self.reason,
            sessions=[self.session],
        )


class TestResults(BaseModel):
    """All that one test came to.

    Attributes:
        checks: its checks, in order.
        comparisons: test name and what each `compare` came to.
        rows: its rows of scorecards.
    """

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[CheckRecord, ...] = ()
    comparisons: tuple[tuple[str, ComparisonRecord], ...] = ()
    rows: tuple[Row, ...] = ()
