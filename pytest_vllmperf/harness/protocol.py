"""How a performance test runs: its reports wait until its checks are settled, with those of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from _pytest.runner import runtestprotocol  # what plugins that rerun or hold back tests use as well

from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.checking.open_checks import settle
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness import collection
from pytest_vllmperf.harness.context import TestContext
from pytest_vllmperf.harness.outcome import Failure, conclude
from pytest_vllmperf.lab.lab import Lab

CONTEXT = pytest.StashKey[TestContext]()
"""Where a test's context lies once its fixture was asked for."""


@dataclass
class _Held:
    """A test that has run, and whose checks are open."""

    item: pytest.Item
    context: TestContext
    reports: list[pytest.TestReport] = field(default_factory=list)


class Protocol:
    """Runs performance tests.

    Args:
        perf: measures again.
        shared: whether a test may wait for the others on its engine. A worker of xdist has to report in order, and a
            run that stops at a number of failures has to know of each before it goes on.
        before_report: called before anything is reported.
    """

    def __init__(self, perf: Lab, *, shared: bool, before_report: Callable[[], None]) -> None:
        self._perf = perf
        self._shared = shared
        self._before_report = before_report
        self._held: list[_Held] = []

    def run(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Run one test; report it, or hold it back until its engine's tests have all run."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        try:
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        except BaseException:  # interrupted: what has run before is still reported
            self._settle(measure=False)
            raise
        context = item.stash.get(CONTEXT, None)
        if context is not None and context.open:
            held = _Held(item, context, reports)
            if context.raised:
                self._conclude(held)
            else:
                self._held.append(held)
        else:
            self._report(item, context, reports)
        stopping = bool(item.session.shouldstop or item.session.shouldfail)
        if stopping or not self._shared or _engine(nextitem) != _engine(item):
            self._settle(measure=not stopping)

    def _settle(self, *, measure: bool) -> None:
        """Come to an end with all tests held back."""
        held, self._held = self._held, []
        try:
            if measure:
                checks = [named.check for one in held for named in one.context.open]
                settle(self._perf, checks, self._perf.settings.max_time)
        finally:
            for one in held:
                self._conclude(one)

    def _conclude(self, held: _Held) -> None:
        concluded = [conclude(held.context, named, self._perf.settings) for named in held.context.open]
        failures = [failure for failure in concluded if failure is not None]
        if failures and not held.context.raised:
            held.reports = [_failed(held.item, report, failures) for report in held.reports]
        for report in held.reports:
            if report.when == "call":
                report.duration += sum(named.check.spent for named in held.context.open)
        self._report(held.item, held.context, held.reports)

    def _report(self, item: pytest.Item, context: TestContext | None, reports: Sequence[pytest.TestReport]) -> None:
        """Hand the reports on; the last one carries the test's checks to the process that writes."""
        self._before_report()
        for report in reports:
            report.user_properties = list(item.user_properties)
            if context is not None and report.when == "teardown":
                report.vllmperf = context.results().model_dump(mode="json")  # type: ignore[attr-defined]
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _failed(item: pytest.Item, report: pytest.TestReport, failures: Sequence[Failure]) -> pytest.TestReport:
    """The report of the test function, made anew by way of the hook, so that every plugin sees the failure."""
    if report.when != "call":
        return report
    text = "\n".join(failure.text for failure in failures)
    call = pytest.CallInfo.from_call(lambda: fail(text), when="call")
    item.funcargs = {}  # type: ignore[attr-defined]  # None once a test is over; other plugins look into it
    made: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    made.duration = report.duration
    made.sections += [("end of the engine's log", failure.log_tail) for failure in failures if failure.log_tail]
    return made


def _engine(item: pytest.Item | None) -> object:
    """What the tests that wait for each other have in common; nothing for a test of another kind."""
    if item is None or not collection.is_performance_test(item):
        return None
    try:
        marked = collection.read_markers(item)
    except SpecError:
        return None
    return ("engine", marked.spec, marked.gpu)
