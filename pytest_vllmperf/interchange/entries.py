"""Runs of one benchmark as a check of a baseline file: each run is an engine start, all of them are a session."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import combinations
from typing import Any, Final

from pytest_vllmperf.errors import ReportError, SampleError
from pytest_vllmperf.interchange.fields import shown
from pytest_vllmperf.interchange.report import UNKNOWN, Report, same_figures
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.masking import masked_text
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.verdict.rule import MIN_ENGINES

FAILED, FEW = "failed", "few"
ALLOWED: Final = {
    FAILED: "reports in which requests failed",
    FEW: f"fewer than {MIN_ENGINES} runs, for a file that is judged but is not a baseline",
}
FAILED_REQUESTS: Final = "failed requests"
"""The soft key of how many requests failed in each run; there where any did."""


@dataclass(frozen=True)
class Named:
    """A run, and where it was found.

    Attributes:
        name: of the file, for messages.
        report: the run.
    """

    name: str
    report: Report


@dataclass(frozen=True)
class Wanted:
    """What the user says of the runs.

    Attributes:
        gate: metrics that decide; None for those of the clock, as far as they were measured.
        margin: tolerated relative change in all metrics that have none of their own.
        margins: tolerated relative change by metric.
        allow: words of `ALLOWED`.
        profile: the name of the hardware; empty where nobody said.
        model: its name, in place of the reports' own; empty to leave that.
    """

    gate: tuple[str, ...] | None
    margin: float
    margins: Mapping[str, float]
    allow: frozenset[str] = frozenset()
    profile: str = ""
    model: str = ""


def entry(runs: Sequence[Named], wanted: Wanted) -> Entry:
    """One check, with one session of these runs.

    Args:
        runs: at least one; each the start of an engine.
        wanted: what the user says of them.

    Raises:
        ReportError: for runs that cannot be judged, each or together; one line says which and why.
    """
    runs = [Named(one.name, replace(one.report, model=wanted.model or one.report.model)) for one in runs]
    for one in runs:
        _check_run(one, wanted.allow)
    _check_together(runs)
    if len(runs) < MIN_ENGINES and FEW not in wanted.allow:
        raise ReportError(
            f"{_runs(len(runs))}; a baseline needs at least {MIN_ENGINES}, each on a freshly started server. "
            f"For a file that is judged but is not a baseline, add --allow {FEW}"
        )
    engines = [_engine(one) for one in runs]
    first = runs[0].report
    return Entry(
        engine=f"{first.tool}: {masked_text(first.model)}",
        workload=_workload(runs),
        judging=_judging(engines, wanted),
        sessions=[Session(recorded=_recorded(runs), environment=_environment(runs, wanted.profile), engines=engines)],
    )


def repeated(stored: Entry, new: Entry) -> bool:
    """Whether a run of `new` is already among the runs of `stored`."""
    before = [engine for session in stored.sessions for engine in session.engines]
    after = [engine for session in new.sessions for engine in session.engines]
    return any(same_figures(_first(one), _first(other)) for one in before for other in after)


def _first(engine: EngineSamples) -> dict[str, float]:
    return {name: values[0] for name, values in engine.samples.items()}


def _runs(count: int) -> str:
    return f"there is {count} run" if count == 1 else f"there are {count} runs"


def _check_run(one: Named, allow: frozenset[str]) -> None:
    report = one.report
    if not report.completed:
        raise ReportError(f"{one.name}: no request succeeded, so there is nothing to judge")
    if report.failed and FAILED not in allow:
        raise ReportError(
            f"{one.name}: {report.failed} of {report.requests} requests failed; find out why, or accept the "
            f"report with --allow {FAILED}"
        )
    if not report.model:
        raise ReportError(f"{one.name}: the report does not name its model; pass --model")
    if zero := next((name for name, value in report.figures.items() if not value and not _may_be_zero(name)), None):
        raise ReportError(f"{one.name}: {zero}: 0 is not a positive finite number")


def _may_be_zero(name: str) -> bool:
    return METRICS[name].may_be_zero


def _check_together(runs: Sequence[Named]) -> None:
    first = runs[0]
    for one in runs[1:]:
        if one.report.tool != first.report.tool:
            raise ReportError(
                f"{first.name} is a report of {first.report.tool}, {one.name} of {one.report.tool}; all reports "
                f"of a session must come from one tool"
            )
        if told := _other_work(_identity(first.report, runs), _identity(one.report, runs)):
            raise ReportError(f"{one.name} was measured with another workload than {first.name}: {told}")
    for one, other in combinations(runs, 2):
        if same_figures(one.report.figures, other.report.figures):
            raise ReportError(f"{one.name} and {other.name} are the same run; pass each run once")


def _identity(report: Report, runs: Sequence[Named]) -> dict[str, Any]:
    """What has to be the same in all runs of a check."""
    failed = any(one.report.failed for one in runs)
    prompts = None if failed else report.prompt_tokens  # a request that failed has none
    told = {"model": report.model, "requests": report.asked, "prompt tokens": prompts, "figures": report.basis}
    return {**{name: value for name, value in told.items() if value not in (None, "")}, **report.work}


def _other_work(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return "; ".join(f"{name}: {shown(one.get(name))} -> {shown(other.get(name))}" for name in names)


def _engine(one: Named) -> EngineSamples:
    report = one.report
    samples = {name: [float(value)] for name, value in report.figures.items()}
    whole = report.asked in (None, len(report.ttfts))
    engine = EngineSamples(
        discarded=0, iterations=1, samples=samples, ttft_by_request=list(report.ttfts) if whole else []
    )
    try:
        check_engine(engine)
    except SampleError as error:
        raise ReportError(f"{one.name}: {error.metric}: {error.problem}") from None
    return engine


def _workload(runs: Sequence[Named]) -> dict[str, Any]:
    identity = _identity(runs[0].report, runs)
    work = {name: value for name, value in identity.items() if name != "model"}
    asked = runs[0].report.asked
    return {**work, **({} if asked is None else {"count": asked}), "key": _key(work)}


def _key(work: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits over everything that the report says of the work."""
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:12]


def _environment(runs: Sequence[Named], profile: str) -> Environment:
    report = runs[0].report
    hard = {
        "backend": report.tool,
        "device": UNKNOWN,
        "model": masked_text(report.model),
        "workload": _workload(runs)["key"],
        **({"profile": profile} if profile else {}),
    }
    names = sorted({name for one in runs for name in one.report.facts})
    soft = {
        name: " / ".join(dict.fromkeys(masked_text(one.report.facts.get(name, UNKNOWN)) for one in runs))
        for name in names
    }
    if any(one.report.failed for one in runs):
        soft[FAILED_REQUESTS] = json.dumps([one.report.failed for one in runs])
    return Environment(hard=dict(sorted(hard.items())), soft=dict(sorted(soft.items())))


def _recorded(runs: Sequence[Named]) -> str:
    """The date of the newest run; now, where no report has one."""
    dates = [one.report.recorded for one in runs if one.report.recorded]
    return max(dates, default=datetime.now(timezone.utc).isoformat(timespec="seconds"))


def _judging(engines: Sequence[EngineSamples], wanted: Wanted) -> Judging:
    measured = set.intersection(*(set(engine.samples) for engine in engines))
    if wanted.gate is None:
        gate = [name for name in CLOCK_METRICS if name in measured]
        if not gate:
            raise ReportError(
                f"the reports contain none of {', '.join(CLOCK_METRICS)}; choose the metrics to gate with --gate"
            )
    else:
        gate = list(wanted.gate)
    for name in gate:
        if name not in measured:
            raise ReportError(
                f"--gate: {name} is not in all of the reports; all of them contain {', '.join(sorted(measured))}"
            )
        if too_few := METRICS[name].too_few(engines):
            alone = METRICS[name].decides_from and not any(engine.ttft_by_request for engine in engines)
            unknown = f"{name} can be gated only if the reports contain each request; gate {name.partition('.')[0]}.p50"
            raise ReportError(f"--gate: {unknown if alone else too_few}")
    return Judging(gate=gate, margin=wanted.margin, margins=dict(wanted.margins))
