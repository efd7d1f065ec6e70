"""Checks and measurements as a report has them: every metric with its declaration, samples and verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from pytest_vllmperf import stats
from pytest_vllmperf.checking import policy
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.requests import request_columns
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records import requests
from pytest_vllmperf.records.check_report import (
    BaselineReport,
    CheckReport,
    EngineStart,
    EnvironmentReport,
    Judged,
    MeasurementReport,
    MetricReport,
    ReferenceReport,
    SessionReport,
    VerdictReport,
)
from pytest_vllmperf.records.details import StartDetails
from pytest_vllmperf.records.results import CheckRecord, MeasuredRecord
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.stored import StoredBaseline
from pytest_vllmperf.records.timeline import EngineTimeline
from pytest_vllmperf.records.verdict import MetricVerdict, Verdict


def measured_record(run: Measurement) -> MeasuredRecord:
    """A measurement that was not checked, as it travels to the process that writes, dated now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return MeasuredRecord(
        engine=run.spec_label,
        profile=run.profile,
        workload=dict(run.workload),
        session=Session(
            recorded=now, environment=run.environment, engines=list(run.engines), excluded=list(run.excluded)
        ),
        problems=run.problems,
        ledger=run.vram,
        values={
            metric: stats.center(found)
            for metric in METRICS.ordered(policy.measured(run.engines))
            if (found := run.samples(metric))
        },
        roofline=run.roofline,
        details=start_details(run),
    )


def start_details(run: Measurement) -> tuple[StartDetails, ...]:
    """Of each engine start of a measurement what only a report shows, together not more than a report may hold."""
    return _details(len(run.engines), run.iterations, run.timelines)


def reference_details(run: Measurement) -> tuple[StartDetails, ...]:
    """The same of each engine start of its reference; empty without one."""
    return () if run.reference is None else _details(len(run.reference.engines), run.reference_iterations, ())


def _details(
    starts: int, iterations: Sequence[Sequence[RunResult]], timelines: Sequence[EngineTimeline | None]
) -> tuple[StartDetails, ...]:
    """What is not known of every start, so that nobody knows which start it is of, is left out."""
    most = max(1, requests.MOST // starts)
    columns = [request_columns(results, most) for results in iterations]
    return tuple(
        StartDetails(
            requests=columns[at] if len(columns) == starts else None,
            timeline=timelines[at] if len(timelines) == starts else None,
        )
        for at in range(starts)
    )


def check_report(record: CheckRecord) -> CheckReport:
    """A check as a report has it."""
    verdict, reference = record.verdict, record.reference
    judged = {one.metric: one for one in (*verdict.metrics, *verdict.information)}
    return CheckReport(
        name=record.id.own,
        entry=record.name,
        status=verdict.status,
        reasons=verdict.reasons,
        gate=tuple(record.judging.gate),
        keeping=record.keeping.value,
        left_out=record.left_out,
        reason=record.reason,
        changed=record.changed,
        notes=record.notes,
        baseline=None if record.stored is None else _baseline(record.stored),
        reference=None
        if reference is None
        else ReferenceReport(
            name=reference.name,
            way=reference.way,
            environment=_environment(reference.environment),
            engines=_starts(reference.engines, record.reference_details),
        ),
        by_baseline=None if record.by_baseline is None else _verdict(record.by_baseline),
        attribution=record.attribution,
        limits=verdict.limits,
        metrics=_metrics(
            record.values,
            record.session.engines,
            gate=record.judging.gate,
            judged=judged,
            reference=() if reference is None else reference.engines,
        ),
        **_common(record),
    )


def measurement_report(record: MeasuredRecord) -> MeasurementReport:
    """A measurement that was not checked, as a report has it."""
    metrics = _metrics(record.values, record.session.engines)
    return MeasurementReport(problems=record.problems, metrics=metrics, **_common(record))


def _common(record: CheckRecord | MeasuredRecord) -> dict[str, Any]:
    session = record.session
    return {
        "engine": record.engine,
        "profile": record.profile,
        "workload": record.workload,
        "measured": session.recorded,
        "environment": _environment(session.environment),
        "engines": _starts(session.engines, record.details),
        "excluded": tuple(session.excluded),
        "ledger": record.ledger,
        "roofline": record.roofline,
    }


def _environment(found: Environment) -> EnvironmentReport:
    """Without the hashes of variables: a report may be published where a baseline is not."""
    return EnvironmentReport(hard=found.hard, soft=found.soft, variables=tuple(found.variables.hashes))


def _starts(engines: Sequence[EngineSamples], details: Sequence[StartDetails]) -> tuple[EngineStart, ...]:
    told = details or [StartDetails()] * len(engines)
    return tuple(
        EngineStart(
            cold_start=one.cold_start,
            discarded=one.discarded,
            iterations=one.iterations,
            warmup={name: tuple(values) for name, values in one.warmup.items()},
            ttft_by_request=tuple(one.ttft_by_request),
            kernels=tuple(one.kernels),
            no_device_pass=one.no_device_pass,
            requests=more.requests,
            timeline=more.timeline,
        )
        for one, more in zip(engines, told, strict=True)
    )


def _metrics(
    values: Mapping[str, float],
    engines: Sequence[EngineSamples],
    *,
    gate: Sequence[str] = (),
    judged: Mapping[str, MetricVerdict] | None = None,
    reference: Sequence[EngineSamples] = (),
) -> dict[str, MetricReport]:
    """Every metric that was measured, gated or judged, in the order of the table; a gated one is never left out."""
    verdicts = judged or {}
    return {
        name: MetricReport(
            name=name,
            label=metric.label,
            unit=metric.unit.symbol,
            better=metric.better.value,
            kind=metric.kind.value,
            clock=metric.clock.value,
            gated=name in gate,
            value=values.get(name),
            samples=tuple(tuple(one.values(name)) for one in engines),
            reference=tuple(tuple(one.values(name)) for one in reference),
            judged=_judged(verdicts[name]) if name in verdicts else None,
        )
        for name, metric in ((name, METRICS[name]) for name in METRICS.ordered({*values, *gate, *verdicts}))
    }


def _judged(one: MetricVerdict) -> Judged:
    noise = one.noise
    return Judged(
        status=one.status,
        baseline=one.baseline,
        now=one.now,
        change=one.change,
        low=one.low,
        high=one.high,
        confidence=one.confidence,
        margin=one.margin,
        engines=one.engines,
        iterations=one.iterations,
        paired=one.paired,
        reason=one.reason,
        clearly_better=one.clearly_better,
        drift=one.drift,
        against=one.against,
        detectable=None if noise is None else noise.detectable,
        session_sd=None if noise is None else noise.session_sd,
        engine_sd=None if noise is None else noise.engine_sd,
    )


def _verdict(verdict: Verdict) -> VerdictReport:
    judged = {one.metric: _judged(one) for one in (*verdict.metrics, *verdict.information)}
    return VerdictReport(status=verdict.status, reasons=verdict.reasons, metrics=judged)


def _baseline(stored: StoredBaseline) -> BaselineReport:
    return BaselineReport(
        sessions=tuple(
            SessionReport(recorded=one.recorded, values={name: tuple(found) for name, found in one.values.items()})
            for one in stored.sessions
        ),
        environment=_environment(stored.environment),
        ttft_by_request=tuple(stored.ttft_by_request),
    )
