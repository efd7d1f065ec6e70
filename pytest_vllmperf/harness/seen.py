"""`Seen`: what became of each performance test of a run, kept for reports of the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO

import pytest
from _pytest._code.code import TerminalRepr
from _pytest._io import TerminalWriter

from pytest_vllmperf.checking.reported import check_report, measurement_report
from pytest_vllmperf.records.ids import TestId, writable
from pytest_vllmperf.records.report import FailedBy, TestOutcome, TestReport
from pytest_vllmperf.records.results import TestResults

LOG_TAIL = "end of the engine's log"
"""Title of the section of a test's report that holds it."""
BY_VERDICT = "vllmperf_verdict"
"""The attribute of a report that fails by nothing but a verdict on performance."""
MOST = 20_000
"""Characters of a test's message that are kept: half of them from its beginning, half from its end."""

_CRASHED = "???"
"""What xdist calls the phase of a test whose worker died."""


@dataclass
class _Test:
    """One test on its way.

    Attributes:
        location: file, line from 0 and name, as pytest has them.
        reports: of its phases, in order.
        results: what its checks came to.
    """

    location: tuple[str, int | None, str]
    reports: list[pytest.TestReport] = field(default_factory=list)
    results: TestResults = field(default_factory=TestResults)


class Seen:
    """What became of each performance test, here or in workers of xdist."""

    def __init__(self) -> None:
        self._order: dict[str, int] = {}
        self._selected: dict[str, None] = {}
        self._started: dict[str, _Test] = {}
        self._performance: set[str] = set()

    def ordered(self, nodeids: Sequence[str]) -> None:
        """All tests that were selected, of whatever kind, in the order in which they are to run.

        It counts where no worker comes to its end, so that nobody tells in which order tests were collected.
        """
        for nodeid in nodeids:
            self._order.setdefault(nodeid, len(self._order))

    def selected(self, nodeids: Iterable[str]) -> None:
        """Performance tests that were selected, in the order in which they were collected."""
        self._selected.update(dict.fromkeys(nodeids))

    def started(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """A test of whatever kind has begun, maybe once more."""
        self._started[nodeid] = _Test(location)

    def add(self, report: pytest.TestReport, results: TestResults | None, *, performance_test: bool) -> None:
        """A report of a test's setup, call or teardown.

        Args:
            report: as pytest has it.
            results: what the test came to, where this is known with this report.
            performance_test: whether the test is one.
        """
        if report.when == "setup":  # also of a test that is run once more: its last run counts
            self._started[report.nodeid] = _Test(report.location)
        test = self._started.setdefault(report.nodeid, _Test(report.location))
        test.reports.append(report)
        if performance_test or report.when == _CRASHED:  # of which nobody knows the kind
            self._performance.add(report.nodeid)
        if results is not None:
            test.results = results

    def reports(self) -> tuple[TestReport, ...]:
        """All performance tests in the order in which they were collected.

        Under xdist a test that was cut short is in it whatever its kind, where no worker has told which are.
        """
        cut = [nodeid for nodeid, test in self._started.items() if not self._selected and not test.reports]
        known = dict.fromkeys([*self._selected, *self._performance, *cut])
        order = {nodeid: at for at, nodeid in enumerate(dict.fromkeys([*self._selected, *self._order]))}
        ordered = sorted(known, key=lambda nodeid: order.get(nodeid, len(order)))
        return tuple(_report(nodeid, self._started.get(nodeid)) for nodeid in ordered)

    def others_failed(self) -> tuple[str, ...]:
        """Node ids of tests of other kinds that failed, in the order in which they began."""
        return tuple(
            writable(nodeid)
            for nodeid, test in self._started.items()
            if nodeid not in self._selected and nodeid not in self._performance
            if any(report.failed for report in test.reports)
        )


def _report(nodeid: str, test: _Test | None) -> TestReport:
    module = TestId.parse(nodeid).module
    if test is None:
        return TestReport(nodeid=writable(nodeid), file=module, outcome="not run")
    results, line = test.results, test.location[1]
    return TestReport(
        nodeid=writable(nodeid),
        file=module,
        line=None if line is None else line + 1,
        outcome=_outcome(test.reports),
        failed_by=_failed_by(test.reports),
        seconds=sum(report.duration for report in test.reports),
        message="\n".join(text for report in test.reports if (text := _message(report))),
        log_tail="\n".join(text for report in test.reports for title, text in report.sections if title == LOG_TAIL),
        unchecked=results.unchecked,
        checks=tuple(map(check_report, results.checks)),
        measurements=tuple(map(measurement_report, results.measured)),
        comparisons=tuple(record for _, record in results.comparisons),
        overloads=results.overloads,
        fits=results.fits,
        point=results.point,
    )


def _outcome(reports: Sequence[pytest.TestReport]) -> TestOutcome:
    """One word for all phases of a test, as pytest counts it."""
    called = next((report for report in reports if report.when == "call"), None)
    failed = [report for report in reports if report.failed]
    if failed:
        return "failed" if called is not None and called.failed else "error"
    told = next((report for report in reports if hasattr(report, "wasxfail")), None)
    if told is not None:
        return "xfailed" if told.skipped else "xpassed"
    if any(report.skipped for report in reports):
        return "skipped"
    return "interrupted" if called is None else "passed"


def _failed_by(reports: Sequence[pytest.TestReport]) -> FailedBy:
    """Whether all that failed of a test did so by verdicts on performance alone."""
    failed = [report for report in reports if report.failed]
    if not failed:
        return ""
    return "verdict" if all(hasattr(report, BY_VERDICT) for report in failed) else "other"


def _message(report: pytest.TestReport) -> str:
    """Why a phase failed or was skipped; empty otherwise."""
    expected: str | None = getattr(report, "wasxfail", None)
    if expected is not None:
        return expected
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else _text(report)
        return str(reason).removeprefix("Skipped: ")
    return _cut(_text(report)) if report.failed else ""


def _text(report: pytest.TestReport) -> str:
    """What pytest shows of a failure: without colours, and without the line that names a worker of xdist."""
    if not isinstance(report.longrepr, TerminalRepr):
        return str(report.longrepr or "")
    stream = StringIO()
    writer = TerminalWriter(stream)
    writer.hasmarkup = False
    report.longrepr.toterminal(writer)
    return stream.getvalue().strip()


def _cut(text: str) -> str:
    if len(text) <= MOST:
        return text
    left_out = len(text) - MOST
    return f"{text[: MOST // 2]}\n... {left_out:,} characters are left out ...\n{text[-(MOST // 2) :]}"
