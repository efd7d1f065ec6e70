"""What a history keeps of the file of a run. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from statistics import median
from typing import Any

from pytest_vllmperf.records.check_report import CheckReport, MeasurementReport, MetricReport
from pytest_vllmperf.records.frames import measured_of
from pytest_vllmperf.records.ids import writable
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.trends import NOT_FINITE, NOT_MEASURED, VOID, Declared, SeriesId
from pytest_vllmperf.records.verdict import Status


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


def _points(head: Mapping[str, Any], measured: MeasurementReport) -> Iterator[Point]:
    check = measured if isinstance(measured, CheckReport) else None
    status = "" if check is None else check.status.value
    void = bool(measured.problems) or status == Status.INVALID.value
    told = measured.environment
    environment = place(told.hard, told.soft, measured.workload)
    time = seconds(measured.measured)
    named = storable(str(head["test"])), storable(head["check"] or "")
    profile = storable(measured.profile)
    for metric in measured.metrics.values():
        series = SeriesId(*named, head["measurement"] or 0, profile, storable(metric.name))
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


def place(hard: Mapping[str, str], soft: Mapping[str, str], workload: Mapping[str, Any]) -> tuple[str, str, str]:
    """An environment as it is stored: the same text for the same content."""
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
    plain = text.isascii() and text.isprintable()  # as most are, and there are many
    return text if plain else writable(text).replace("\x00", "\\x00")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
