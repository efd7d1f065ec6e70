"""The figures of a run that another tool is given: which ones, under which names, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from pytest_vllmperf.errors import ReportError, SpecError, did_you_mean
from pytest_vllmperf.metrics.table import GATES, IF_MEASURED, METRICS, custom_names
from pytest_vllmperf.records.check_report import CheckReport, MeasurementReport, MetricReport
from pytest_vllmperf.records.custom import plain_name
from pytest_vllmperf.records.frames import measured_of
from pytest_vllmperf.records.ids import CHECK_SEPARATOR
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status

GATED: Final = "gated"
ALL: Final = "all"
DEFAULT: Final = f"{GATED} clock"
"""What is taken where nobody chooses: what decides, and the clock, which does not decide on a CPU."""


@dataclass(frozen=True)
class Point:
    """One metric of one check or measurement, of which every engine start has at least one sample.

    Attributes:
        subject: the node id of the test, with the name of the check behind it; control characters are shown as escapes.
        test: the node id alone, as it is.
        check: name of the check; empty for the only one without a name.
        measurement: which of the measurements of the test that were not checked, from 1; None for a check.
        of: the check or measurement.
        metric: the metric.
        value: its value, in its unit.
    """

    subject: str
    test: str
    check: str
    measurement: int | None
    of: MeasurementReport
    metric: MetricReport
    value: float

    @property
    def engines(self) -> list[float]:
        """The median of each engine start that measured it."""
        return [median(values) for values in self.metric.samples if values]

    @property
    def samples(self) -> list[float]:
        """All samples of all engine starts, in order."""
        return [value for values in self.metric.samples for value in values]


@dataclass(frozen=True)
class Chosen:
    """What is taken of a run.

    Attributes:
        points: at least one; no two have the same subject and metric.
        notes: what is left out, and what a person should know of the run, in words.
    """

    points: tuple[Point, ...]
    notes: tuple[str, ...]


def choose(report: RunReport, words: Sequence[str] = (GATED, "clock"), subject: str | None = None) -> Chosen:
    """The figures of a run that count.

    A void measurement is left out: its figures are not those of the engine.

    Args:
        report: the run.
        words: names of metrics, or the sets `gated`, `all` and those of `--vllmperf-gate`.
        subject: only the check with this name; None for all.

    Raises:
        SpecError: for a word or a subject that does not exist.
        ReportError: where nothing is left.
    """
    names = _names(words, _custom(report))
    subjects = {one.name: one for one in _subjects(report)}
    if subject is not None and subject not in subjects:
        raise SpecError(f"the run has no check {subject!r}{did_you_mean(subject, subjects)}")
    wanted = [one for one in subjects.values() if subject in (None, one.name)]
    void = [one.name for one in wanted if _is_void(one.measured)]
    found = [
        Point(one.name, one.test, one.check, one.number, one.measured, metric, metric.value)
        for one in wanted
        if one.name not in void
        for metric in one.measured.metrics.values()
        if metric.value is not None and (metric.name in names or (GATED in words and metric.gated))
    ]
    if not found:
        raise ReportError(f"nothing to export: no sound measurement of the run has any of: {' '.join(words)}")
    return Chosen(tuple(found), tuple(_notes(report, void)))


def shown(text: str) -> str:
    r"""A name for another tool: control characters and line breaks are shown as `\n` and `\x1b` are."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def finite(points: Sequence[Point], tool: str) -> None:
    """See that every figure is a number that JSON has.

    Raises:
        ReportError: for the first that is not.
    """
    for point in points:
        if not all(map(math.isfinite, [point.value, *point.samples])):
            told = f"{point.subject}: {point.metric.name} has a sample that is not a finite number"
            raise ReportError(f"{told}, which {tool} cannot hold; leave it out with --metrics")


def _custom(report: RunReport) -> dict[str, set[str]]:
    """The keys of the custom metrics of a run, by plain name: two tests may declare one name differently."""
    found: dict[str, set[str]] = {}
    for test in report.tests:
        for measured in (*test.checks, *test.measurements):
            for key in custom_names(measured.metrics):
                found.setdefault(plain_name(key), set()).add(key)
    return found


def _names(words: Sequence[str], custom: Mapping[str, Collection[str]]) -> set[str]:
    names: set[str] = set()
    for word in words:
        if word == ALL:
            names.update(METRICS, *custom.values())
        elif word in GATES:
            names.update(GATES[word], IF_MEASURED[word])
        elif word in custom:
            names.update(custom[word])
        elif word in METRICS:
            names.add(word)
        elif word != GATED:
            known = [GATED, ALL, *GATES, *METRICS, *custom]
            raise SpecError(f"--metrics: no metric or set is called {word!r}{did_you_mean(word, known)}; "
                            f"sets: {', '.join([GATED, ALL, *GATES])}")  # fmt: skip
    return names


@dataclass(frozen=True)
class _Subject:
    """A check or measurement under a name that no other has."""

    name: str
    test: str
    check: str
    number: int | None
    measured: MeasurementReport


def _subjects(report: RunReport) -> Iterator[_Subject]:
    taken: set[str] = set()
    for test in report.tests:
        for measured, head in measured_of(test):
            number = head["measurement"] if isinstance(head["measurement"], int) else None
            check = measured.name if isinstance(measured, CheckReport) else ""
            own = check or (f"measurement {number}" if number is not None else "")
            name = base = shown(f"{test.nodeid}{CHECK_SEPARATOR}{own}" if own else test.nodeid)
            copies = 1
            while name in taken:  # a check may be called as a measurement is, and escapes as what they stand for
                copies += 1
                name = f"{base} ({copies})"
            taken.add(name)
            yield _Subject(name, test.nodeid, check, number, measured)


def _is_void(measured: MeasurementReport) -> bool:
    invalid = isinstance(measured, CheckReport) and measured.status is Status.INVALID
    return invalid or bool(measured.problems)


def _notes(report: RunReport, void: Sequence[str]) -> Iterator[str]:
    if not report.run.complete:
        yield "the run is not complete: tests may be missing"
    if void:
        yield f"left out, as void: {', '.join(void)}"
    empty = [shown(test.nodeid) for test in report.tests if not test.checks and not test.measurements]
    if empty:
        yield f"without a measurement: {', '.join(empty)}"
