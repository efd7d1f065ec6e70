"""How a performance test runs: checks are settled while its fixtures live, with those of its neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from _pytest.runner import runtestprotocol  # what plugins that rerun or hold back tests use as well

from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.checking.outcome import Failure
from pytest_vllmperf.checking.settling import settle
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness import collection
from pytest_vllmperf.harness.context import CONTEXT, TestContext
from pytest_vllmperf.harness.lifetime import outlives
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.results import TestResults


@dataclass
class _Held:
    """A test that has run, and whose checks wait for those of its neighbours."""

    item: pytest.Item
    context: TestContext
    reports: list[pytest.TestReport]


class Protocol:
    """Runs performance tests.

    A check that wants more engines is settled before anything is torn down that its test used: inside the test's own
    call, or inside the call of a later test on the same engine, where all fixtures live that long. A test that waits
    is reported once its checks are settled.

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
        self._settled = False
        self._cut_short = False
        self._running: tuple[pytest.Item, pytest.Item | None] | None = None

    def run(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Run one test; report it, or hold it back until its engine's tests have all run."""
        item.ihook.pytest_runtest_logstart(nodeid=collection.node_id(item), location=item.location)
        self._running = (item, nextitem)
        try:
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        except BaseException:  # interrupted: what has run before is still reported
            self.cut_short()
            self._report_held()
            raise
        finally:
            self._running = None
        if self._settled:
            _add_to_call(reports, -sum(check.spent for one in self._held for check in one.context.pending))
            self._report_held()
        context = item.stash.get(CONTEXT, None)
        if context is not None and context.waiting:
            self._held.append(_Held(item, context, reports))
        else:
            self._report(item, reports)
        if self._held and _stopping(item):
            self.cut_short()
            self._report_held()

    def end_of_call(self, item: pytest.Item, *, failed: bool, skipped: bool = False) -> None:
        """A test function has returned, or raised: settle what cannot wait any longer.

        Args:
            item: the test.
            failed: whether it raised what fails it.
            skipped: whether it skipped the rest of itself. The checks that it made until then count.

        Raises:
            CheckFailed: where the test's own checks fail it.
        """
        __tracebackhide__ = True
        context = item.stash.get(CONTEXT, None)
        self._cut_short = self._cut_short or _stopping(item)
        if context is not None and skipped:
            context.raised = True
        sound = context is not None and not failed and not context.failures
        own = context.pending if context is not None and sound else []
        if self._may_wait(item):
            if context is not None and own:
                context.waiting = True
                return
        else:
            self._settle(own)
        if context is not None and not failed:
            _fail_with(context.conclude_all())

    def before_teardown(self, item: pytest.Item) -> None:
        """A test's fixtures are about to be torn down, maybe without its function having run."""
        self._cut_short = self._cut_short or _stopping(item)
        if self._held and not self._may_wait(item):
            self._settle([])

    def end_of_fixture(self, context: TestContext) -> None:
        """The backstop: checks that were made outside of the call are settled, or fail their test.

        A test that skipped itself is no exception: a `unittest.TestCase` raises that past everybody who could settle.

        Raises:
            CheckFailed: where a check fails its test and nothing has so far.
        """
        __tracebackhide__ = True
        if context.waiting:
            return
        failed = context.failed or context.excused
        if not failed and not self._cut_short:
            settle(self._perf, context.pending, self._perf.settings.max_time)
        failures = context.conclude_all()
        if not failed:
            _fail_with(failures)

    def cut_short(self) -> None:
        """The run was interrupted: nothing is measured any more."""
        self._cut_short = True

    def _may_wait(self, item: pytest.Item) -> bool:
        """Whether open checks may wait for the next test's end."""
        if self._running is None or self._running[0] is not item or not self._shared:
            return False
        nextitem = self._running[1]
        if nextitem is None or _stopping(item):
            return False
        used = [*(one.item for one in self._held), item]
        return _engine(nextitem) == _engine(item) and all(outlives(one, nextitem) for one in used)

    def _settle(self, own: Sequence[Check]) -> None:
        """Settle the checks of a test with those of all tests held back."""
        held = [check for one in self._held for check in one.context.pending]
        self._settled = self._settled or bool(held)
        if not self._cut_short:
            settle(self._perf, [*held, *own], self._perf.settings.max_time)

    def _report_held(self) -> None:
        """Come to an end with all tests held back."""
        held, self._held, self._settled = self._held, [], False
        for one in held:
            self._conclude(one)

    def _conclude(self, held: _Held) -> None:
        spent = sum(check.spent for check in held.context.pending)
        failures = held.context.conclude_all()
        if failures and not held.context.failed:
            held.reports = [_failed(held.item, report, failures) for report in held.reports]
        _add_to_call(held.reports, spent)
        for report in held.reports:
            if report.when == "teardown":  # made before its checks were concluded
                attach(report, held.context)
        self._report(held.item, held.reports)

    def _report(self, item: pytest.Item, reports: Sequence[pytest.TestReport]) -> None:
        """Hand the reports on; the last one carries the test's checks to the process that writes."""
        self._before_report()
        for report in reports:
            report.user_properties = list(item.user_properties)
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=collection.node_id(item), location=item.location)


def _stopping(item: pytest.Item) -> bool:
    return bool(item.session.shouldstop or item.session.shouldfail)


def attach(report: pytest.TestReport, context: TestContext) -> None:
    """Put what a test came to into its last report, which travels to the process that writes."""
    if not context.pending:  # else it is held back, and nobody knows yet whether it fails
        context.end_traces()
    # As a text: xdist takes a second to hand on as many numbers, each an object of its own.
    report.vllmperf = json.dumps(context.results().model_dump(mode="json"))  # type: ignore[attr-defined]


def attached(report: pytest.TestReport) -> TestResults | None:
    """What a test came to, out of its last report; None in any other."""
    text: str | None = getattr(report, "vllmperf", None)
    return None if text is None else TestResults.model_validate(json.loads(text))


def _add_to_call(reports: Sequence[pytest.TestReport], seconds: float) -> None:
    for report in reports:
        if report.when == "call":
            report.duration = max(0.0, report.duration + seconds)


def _fail_with(failures: Sequence[Failure]) -> None:
    __tracebackhide__ = True
    if failures:
        text = "\n".join(failure.text for failure in failures)
        log_tail = "\n".join(failure.log_tail for failure in failures if failure.log_tail)
        fail(text, failures[0].line, log_tail, verdict=all(failure.verdict for failure in failures))


def _failed(item: pytest.Item, report: pytest.TestReport, failures: Sequence[Failure]) -> pytest.TestReport:
    """The report of the test function, made anew by way of the hook, so that every plugin sees the failure."""
    if report.when != "call":
        return report
    call = pytest.CallInfo.from_call(lambda: _fail_with(failures), when="call")
    item.funcargs = {}  # type: ignore[attr-defined]  # None once a test is over; other plugins look into it
    made: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    made.duration = report.duration
    return made


def _engine(item: pytest.Item | None) -> object:
    """What the tests that wait for each other have in common; nothing for a test of another kind."""
    if item is None or not collection.is_performance_test(item):
        return None
    try:
        marked = collection.read_markers(item)
    except SpecError:
        return None
    return ("engine", marked.spec, marked.gpu, marked.settings.against)
