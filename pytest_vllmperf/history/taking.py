"""What a history keeps of the file of a run, or of a baseline file. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from statistics import median
from typing import Any, Final

from pytest_vllmperf import stats
from pytest_vllmperf.lab.environment import profile_of
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.frames import measured_of
from pytest_vllmperf.records.ids import CheckId, writable
from pytest_vllmperf.records.report import CheckReport, MeasurementReport, MetricReport, RunReport
from pytest_vllmperf.records.samples import Entry, Session
from pytest_vllmperf.records.trends import Declared, SeriesId
from pytest_vllmperf.records.verdict import Status

VOID: Final = "void"
NOT_FINITE: Final = "not a finite number"
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Point:
    """A value, as it is stored.

    Attributes:
        series: what it is of.
        metric: what is known of the metric.
        environment: that it was measured in, as JSON: hard keys, soft keys, workload.
        time: when, in seconds since 1970-01-01 UTC.
        value: in the unit of the metric; None where it was not measured.
        engines: the median of each engine start that measured it.
        status: the verdict on the metric; empty where it was not judged.
        check_status: the verdict on its check; empty for a measurement that was not checked.
        baseline: the value that it was judged by; None without one.
        change: against that value; None without one.
        left_out: why it does not count; empty for one that does.
    """

    series: SeriesId
    metric: Declared
    environment: tuple[str, str, str]
    time: float
    value: float | None
    engines: tuple[float, ...]
    status: str = ""
    check_status: str = ""
    baseline: float | None = None
    change: float | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Taken:
    """A run, or a session of a baseline file, with all its values.

    Attributes:
        key: a hash of what tells it from all others.
        source: `run` or `baseline`.
        run: the columns of its row, without the key.
        points: no two of one series.
        notes: what a person should know of it, in words.
    """

    key: str
    source: str
    run: Mapping[str, Any]
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


def of_run(report: RunReport) -> Taken:
    """What is kept of a run: every metric of every check and measurement, be it void."""
    told = report.run
    named = [(head, measured) for test in report.tests for measured, head in measured_of(test)]
    points = tuple(_each_once(point for head, measured in named for point in _points(head, measured)))
    what = [(one.series.test, one.series.check, one.series.metric, one.time, one.value) for one in points]
    outcomes = [(test.nodeid, test.outcome) for test in report.tests]
    return Taken(
        key=digest(["run", told.started, told.seconds, told.machine.model_dump(), outcomes, what]),
        source="run",
        run={
            "started": storable(told.started),
            "commit_hash": told.commit,
            "dirty": told.dirty,
            "complete": told.complete,
            "outcome": told.outcome,
            "plugin": storable(told.plugin),
            "device": storable(told.machine.device),
            "driver": told.machine.driver,
            "vllm": told.machine.vllm,
        },
        points=points,
        notes=tuple(_notes(report, points)),
    )


def of_baseline(module: str, entries: Mapping[str, Entry]) -> list[Taken]:
    """What is kept of a baseline file: a run for each of its sessions, oldest first.

    Args:
        module: path of the test module, as in a node id.
        entries: the checks of the file by their names in it.
    """
    return [
        _of_session(CheckId.parse(module, name), entry, session)
        for name, entry in entries.items()
        for session in entry.sessions
    ]


def _of_session(check: CheckId, entry: Entry, session: Session) -> Taken:
    environment = _environment(session.environment.hard, session.environment.soft, entry.workload)
    profile = storable(profile_of(session.environment.hard))
    points = []
    for name, metric in METRICS.items():
        engines = [values for engine in session.engines if (values := engine.values(name))]
        if engines:
            value = float(stats.center(engines))
            points.append(
                Point(
                    series=SeriesId(storable(str(check.test)), storable(check.own), 0, profile, name),
                    metric=Declared(
                        label=metric.label,
                        unit=metric.unit.symbol,
                        better=metric.better.value,
                        kind=metric.kind.value,
                        clock=metric.clock.value,
                        gated=name in entry.judging.gate,
                    ),
                    environment=environment,
                    time=seconds(session.recorded),
                    value=value if math.isfinite(value) else None,
                    engines=tuple(float(median(values)) for values in engines),
                    check_status=Status.RECORDED.value,
                    left_out="" if math.isfinite(value) else NOT_FINITE,
                )
            )
    soft = session.environment.soft
    content = [[engine.model_dump() for engine in session.engines], environment]
    return Taken(
        key=digest(["baseline", str(check.test), check.own, profile, session.recorded, content]),
        source="baseline",
        run={
            "started": storable(session.recorded),
            "commit_hash": None,
            "dirty": None,
            "complete": True,
            "outcome": "recorded",
            "plugin": storable(soft.get("plugin", "")),
            "device": profile,
            "driver": soft.get("driver"),
            "vllm": soft.get("version of vllm"),
        },
        points=tuple(points),
    )


def _points(head: Mapping[str, Any], measured: MeasurementReport) -> Iterator[Point]:
    check = measured if isinstance(measured, CheckReport) else None
    status = "" if check is None else check.status.value
    void = bool(measured.problems) or status == Status.INVALID.value
    told = measured.environment
    environment = _environment(told.hard, told.soft, measured.workload)
    time = seconds(measured.measured)
    for metric in measured.metrics.values():
        series = SeriesId(
            storable(str(head["test"])),
            storable(head["check"] or ""),
            head["measurement"] or 0,
            storable(measured.profile),
            storable(metric.name),
        )
        finite = metric.value is not None and math.isfinite(metric.value)
        judged = metric.judged
        yield Point(
            series=series,
            metric=_declared(metric),
            environment=environment,
            time=time,
            value=metric.value if finite else None,
            engines=tuple(median(values) for values in metric.samples if values),
            status="" if judged is None else judged.status.value,
            check_status=status,
            baseline=None if judged is None else _finite(judged.baseline),
            change=None if judged is None else _finite(judged.change),
            left_out=VOID if void else "" if finite else NOT_MEASURED if metric.value is None else NOT_FINITE,
        )


def _declared(metric: MetricReport) -> Declared:
    return Declared(
        label=storable(metric.label),
        unit=storable(metric.unit),
        better=metric.better,
        kind=storable(metric.kind),
        clock=storable(metric.clock),
        gated=metric.gated,
    )


def _each_once(points: Iterable[Point]) -> Iterator[Point]:
    """No two of one series: a test that a run has twice gets a second name, so that no value is lost."""
    seen: Counter[SeriesId] = Counter()
    for point in points:
        seen[point.series] += 1
        number = seen[point.series]
        if number > 1:
            named = replace(point.series, check=f"{point.series.check} ({number})".lstrip())
            point = replace(point, series=named)
        yield point


def _notes(report: RunReport, points: Sequence[Point]) -> Iterator[str]:
    """What would otherwise be missing in silence."""
    if not report.run.complete:
        yield "the run is not complete: tests may be missing"
    void = {(point.series.test, point.series.check) for point in points if point.left_out == VOID}
    if void:
        yield f"void, so left out of trends: {', '.join(sorted(' '.join(one).strip() for one in void))}"
    empty = [test.nodeid for test in report.tests if not test.checks and not test.measurements]
    if empty:
        yield f"without a measurement: {', '.join(map(storable, empty))}"


def _environment(hard: Mapping[str, str], soft: Mapping[str, str], workload: Mapping[str, Any]) -> tuple[str, str, str]:
    return _json(hard), _json(soft), _json(workload)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: object) -> str:
    """A hash of a value that JSON can hold, of 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def seconds(when: str) -> float:
    """An ISO date and time as seconds since 1970-01-01 UTC; one without a zone is taken as UTC.

    Raises:
        ValueError: for what is none.
    """
    found = datetime.fromisoformat(when.replace("Z", "+00:00"))
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def storable(text: str) -> str:
    r"""A text that every database takes: NUL and unpaired surrogates become escapes."""
    return writable(text).replace("\x00", "\\x00")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
