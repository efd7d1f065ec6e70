"""A check that has come to its end: the record of it, and why it fails its test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.harness.context import NamedCheck, TestContext
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.samples import Session
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.report import terminal
from pytest_vllmperf.verdict import outlook
from pytest_vllmperf.verdict.comparability import differences

FAILING = (Status.REGRESSED, Status.NO_BASELINE, Status.NOT_COMPARABLE, Status.INVALID)


@dataclass(frozen=True)
class Failure:
    """Why a check fails its test.

    Attributes:
        text: for a person, one or more lines.
        log_tail: the end of the engine's log, where an engine failed.
    """

    text: str
    log_tail: str = ""


def conclude(test: TestContext, named: NamedCheck, settings: Settings) -> Failure | None:
    """Book a check that will see no further engine.

    Args:
        test: whose checks and properties it goes to.
        named: the check.
        settings: the run's.

    Returns:
        Why it fails its test; None when it does not.
    """
    check = named.check
    record = _record(test, named, settings)
    test.checks.append(record)
    test.properties += terminal.properties(record)
    if check.error is not None:
        log_tail = check.error.log_tail if isinstance(check.error, EngineError) else ""
        return Failure(f"{record.name}: measured again: {check.error}", log_tail)
    status = record.verdict.status if record.verdict is not None else Status.OK
    if status in FAILING or (status is Status.NOISY and settings.noisy_fails):
        changed: list[str] = []
        if check.baseline:
            changed = differences(check.baseline[-1].environment.soft, record.session.environment.soft)
        return Failure("\n".join(terminal.failure_lines(record, changed, test.record_command())))
    return None


def _record(test: TestContext, named: NamedCheck, settings: Settings) -> CheckRecord:
    check, run = named.check, named.check.measurement
    session = Session(
        recorded=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=run.environment,
        engines=list(run.engines),
        excluded=list(run.excluded),
    )
    verdict = check.verdict
    if check.error is not None:
        verdict = Verdict(Status.INVALID, reasons=(str(check.error),))
    elif check.open:  # its test failed, or the run was stopped
        verdict = verdict or Verdict(Status.UNDECIDED)
    appended = settings.append and verdict is not None and verdict.agrees
    kept = verdict is None or appended
    sessions = [*check.baseline, session] if appended else [session]
    return CheckRecord(
        module=test.module,
        name=named.name,
        profile=run.profile,
        engine=run.spec_label,
        workload=dict(run.workload),
        session=session,
        judging=check.settings.judging,
        verdict=verdict,
        kept=kept,
        reason=settings.reason if verdict is None else "",
        outlook=outlook(sessions, check.settings) if kept else (),
        ledger=run.vram,
        values={metric: run.value(metric) for metric in METRICS if run.samples(metric)},
    )
