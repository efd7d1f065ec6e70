"""A check that has come to its end: the record of it, and why it fails its test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from pytest_vllmperf.checking import policy
from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.device_pass import engines_without
from pytest_vllmperf.checking.lengths import other_lengths
from pytest_vllmperf.checking.plan import Purpose
from pytest_vllmperf.checking.reported import reference_details, start_details
from pytest_vllmperf.checking.stored import stored_baseline
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.records.results import CheckRecord, Keeping
from pytest_vllmperf.records.samples import Environment, Session
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.report import verdicts
from pytest_vllmperf.report.failed import failure_lines
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.verdict import Evidence
from pytest_vllmperf.verdict.attribution import of_check
from pytest_vllmperf.verdict.comparability import changes, not_compared, strange_machine

FAILING = (
    Status.BEYOND_LIMIT,
    Status.REGRESSED,
    Status.DRIFTED,
    Status.NO_BASELINE,
    Status.NOT_COMPARABLE,
    Status.INVALID,
)


@dataclass(frozen=True)
class Failure:
    """Why a check fails its test.

    Attributes:
        text: one or more lines for the report.
        line: the user's file and line that called `check()`.
        log_tail: the end of the engine's log, where an engine failed.
        verdict: whether nothing but the verdict of the check fails the test.
    """

    text: str
    line: tuple[str, int]
    log_tail: str = ""
    verdict: bool = False


def conclude(
    check: Check, settings: Settings, *, every: bool = False, width: int = WIDTH
) -> tuple[CheckRecord, Failure | None]:
    """The record of a check that will see no further engine, and why it fails its test; None when it does not.

    Args:
        check: the check.
        settings: the run's.
        every: whether a failure tells all of every metric, as with `-v`.
        width: columns of a line of the failure.
    """
    record = _record(check, settings)
    if check.error is not None:
        log_tail = check.error.log_tail if isinstance(check.error, EngineError) else ""
        text = f"{record.name}: measured again: {check.error}"
        return record, Failure(text, check.plan.site.line, log_tail)
    status = record.verdict.status
    if status not in FAILING and not (status is Status.NOISY and settings.noisy_fails):
        return record, None
    lines = failure_lines(record, record.changed, check.plan.site.command, every=every, width=width)
    return record, Failure("\n".join(lines), check.plan.site.line, verdict=True)


def _changed(check: Check) -> tuple[str, ...]:
    """How its environment differs from that of what it is judged by: its reference, or the newest stored session."""
    before: Environment | None = check.plan.baseline[-1].environment if check.plan.baseline else None
    if check.measurement.reference is not None:
        before = check.measurement.reference.environment
    return () if before is None else tuple(changes(before, check.measurement.environment))


def _record(check: Check, settings: Settings) -> CheckRecord:
    run, plan = check.measurement, check.plan
    session = Session(
        recorded=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=run.environment,
        engines=list(run.engines),
        excluded=list(run.excluded),
    )
    verdict = _final(check)
    keeping, left_out = _keeping(verdict, append=plan.append)
    return CheckRecord(
        module=plan.site.module,
        name=plan.site.name,
        profile=run.profile,
        engine=run.spec_label,
        workload=dict(run.workload),
        session=session,
        judging=plan.settings.judging,
        verdict=verdict,
        keeping=keeping,
        left_out=left_out,
        reason=settings.reason if keeping is Keeping.NEW else "",
        ledger=run.vram,
        notes=(
            *(not_compared(plan.baseline[-1].environment, run.environment) if plan.baseline else ()),
            *(strange_machine(plan.baseline, run.environment) if plan.baseline and not run.reference else ()),
            *plan.notes,
            *_of_lengths(check),
            *engines_without(plan.settings.gate, run.engines),
            *_of_client(run),
        ),
        values={metric: run.value(metric) for metric in METRICS.ordered(policy.measured(run.engines))},
        reference=run.reference,
        by_baseline=check.by_baseline(),
        attribution=_attribution(check, verdict),
        stored=stored_baseline(plan.baseline, [one.metric for one in (*verdict.metrics, *verdict.information)]),
        changed=_changed(check),
        roofline=run.roofline,
        details=start_details(run) if settings.reports else (),
        reference_details=reference_details(run) if settings.reports else (),
    )


def _attribution(check: Check, verdict: Verdict) -> Attribution | None:
    """Where the time of a judged check differs from its reference's, or else from that of its baseline."""
    run, plan = check.measurement, check.plan
    reference = () if run.reference is None else run.reference.engines
    return of_check(verdict, Evidence(plan.baseline, run.engines, plan.settings, reference=reference))


def _of_lengths(check: Check) -> tuple[str, ...]:
    """That a check compares figures of other work; where it compares nothing, that says enough."""
    plan = check.plan
    compared = plan.purpose is Purpose.JUDGE and plan.settings.gate and not plan.differences
    if not compared or check.measurement.problems:
        return ()
    return tuple(f"{plan.site.name}: {line}" for line in other_lengths(check.measurement, plan.baseline))


def _of_client(run: Measurement) -> tuple[str, ...]:
    """What the load generator noted: the first note of each kind, as iterations differ by a number in it."""
    served = [one.served for engine in run.iterations for one in engine if one.served is not None]
    kinds: dict[str, str] = {}
    for note in (note for one in served for note in one.notes):
        kinds.setdefault(note.partition(":")[0], note)
    return tuple(kinds.values())


def _final(check: Check) -> Verdict:
    """The verdict as it is reported; a check that was cut short by its test, or the run, decided nothing."""
    if check.error is not None:
        return Verdict(Status.INVALID, reasons=(str(check.error),))
    return Verdict(Status.UNDECIDED) if check.open else check.verdict


def _keeping(verdict: Verdict, *, append: bool) -> tuple[Keeping, str]:
    """What becomes of the session in the baseline file, and why it stays out where it might have joined."""
    if verdict.status is Status.RECORDED:
        return Keeping.NEW, ""
    if not append:
        return Keeping.NOTHING, ""
    if verdict.agrees:
        return Keeping.APPENDED, ""
    beyond = [one for one in verdict.metrics if not one.within_margin]
    return Keeping.NOTHING, verdicts.beyond_margin(beyond[0]) if beyond else f"it is {verdict.status.value}"
