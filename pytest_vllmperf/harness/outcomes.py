"""What became of the performance tests of a run, and whether it judged anything."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pytest_vllmperf.records.results import TestResults

_MUST_NOT_PASS = "a gate that judged nothing must not pass"  # noqa: S105 - a sentence


@dataclass
class Outcomes:
    """Keeps count of tests that have come to their end, here or in a worker.

    Attributes:
        seen: performance tests that came to an end.
        ran: those that did more than being skipped.
        failed: all tests that failed, or failed as expected: nothing of theirs is recorded.
        red: those that failed, so that pytest does not pass.
        ended: all tests that were torn down.
        asserted: whether any performance test judged, recorded or looked at something.
        unchecked: what was measured and not looked at, in words.
    """

    seen: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    red: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    asserted: bool = False
    unchecked: list[str] = field(default_factory=list)

    def add(self, report: pytest.TestReport, *, performance_test: bool) -> None:
        """A report of a test's setup, call or teardown."""
        expected_to_fail = hasattr(report, "wasxfail")
        if report.failed or expected_to_fail:
            self.failed.add(report.nodeid)
        if report.failed:
            self.red.add(report.nodeid)
        if report.when == "teardown":
            self.ended.add(report.nodeid)
        if performance_test:
            self.seen.add(report.nodeid)
            called = report.when == "call" and not report.skipped
            if called or report.failed or expected_to_fail:
                self.ran.add(report.nodeid)

    def add_results(self, results: TestResults) -> None:
        """What one performance test came to."""
        self.asserted = self.asserted or results.asserted
        self.unchecked += results.unchecked

    def nothing_judged(self) -> str | None:
        """Why the run judged nothing, in a line; None where it did, or where a performance test failed."""
        if not self.seen:
            return f"ERROR: nothing was judged: no performance test was selected; {_MUST_NOT_PASS}"
        if not self.ran:
            number = len(self.seen)
            skipped = "the only performance test was" if number == 1 else f"all {number} performance tests were"
            return f"ERROR: nothing was measured: {skipped} skipped (-rs shows why); {_MUST_NOT_PASS}"
        if self.asserted or self.seen & self.red:
            return None
        return f"ERROR: nothing was judged: no measurement was checked or compared; {_MUST_NOT_PASS}"
