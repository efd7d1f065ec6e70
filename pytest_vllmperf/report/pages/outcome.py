"""What a run came to, in words: one line for all of it, and what must not be overlooked; pure.

A run that judged nothing, or not all, never reads like one that found nothing wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from pytest_vllmperf.records.check_report import CheckReport
from pytest_vllmperf.records.report import RunReport, TestReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import units

Word = Literal["PASSED", "RECORDED", "FAILED", "NOTHING JUDGED", "INCOMPLETE", "ERROR"]

UNFINISHED: Final = ("interrupted", "not run")
FAILED: Final = ("failed", "error")
GOOD: Final = (Status.OK, Status.RECORDED, Status.IMPROVED)
"""Verdicts with nothing to worry about."""
UNJUDGED: Final = (Status.NO_BASELINE, Status.NOT_COMPARABLE, Status.INVALID)
"""Verdicts of checks that were compared with nothing."""

_NO_TESTS: Final = 5
_TESTS_FAILED: Final = 1


def failed(report: RunReport) -> tuple[TestReport, ...]:
    """The performance tests that failed."""
    return tuple(test for test in report.tests if test.outcome in FAILED)


def word(report: RunReport) -> Word:
    """What the run came to.

    Args:
        report: the run.
    """
    run = report.run
    if run.exit_status not in (0, _TESTS_FAILED, _NO_TESTS):
        return "INCOMPLETE" if run.outcome == "interrupted" else "ERROR"
    if not run.complete:
        return "INCOMPLETE"
    if failed(report):
        return "FAILED"
    if _saw_nothing(report):
        return "NOTHING JUDGED"
    if run.exit_status:
        return "FAILED"
    statuses = {check.status for _, check in report.checks}
    return "RECORDED" if statuses == {Status.RECORDED} else "PASSED"


def _saw_nothing(report: RunReport) -> bool:
    """Whether no performance test looked at anything; the run's own notes say so where its tests ran."""
    if all(test.outcome in ("skipped", *UNFINISHED) for test in report.tests):
        return True
    return any(note.startswith("ERROR: nothing was") for note in report.run.notes)


def headline(report: RunReport) -> str:
    """The run in one line: `FAILED: 1 of 3 performance tests failed: 1 REGRESSED`.

    Args:
        report: the run.
    """
    return f"{word(report)}: {_words(report)}"


def _words(report: RunReport) -> str:
    tests, checks = report.tests, [check for _, check in report.checks]
    found = word(report)
    if found == "INCOMPLETE":
        return f"{_unfinished(report)}{_failures(report, '; ')}"
    if found == "ERROR":
        told = f"the run ended with exit status {report.run.exit_status} ({report.run.outcome})"
        return f"{told}{_failures(report, '; ')}"
    if found == "FAILED" and failed(report):
        return _failures(report, "")
    if found == "FAILED":
        return f"no performance test failed, but the run ended with exit status {report.run.exit_status}"
    if not tests:
        return "no performance test was selected"
    if found == "NOTHING JUDGED" and all(test.outcome == "skipped" for test in tests):
        return f"all {units.many(len(tests), 'performance test')} were skipped" if len(tests) > 1 else (
            "the only performance test was skipped")  # fmt: skip
    if found == "NOTHING JUDGED":
        return "no measurement was checked or compared"
    if not checks:
        return f"{_count(tests, 'passed')} of {units.many(len(tests), 'performance test')}; none has a check"
    told = f"{units.many(len(checks), 'check')}: {_statuses(checks)}"
    if found == "RECORDED":
        return f"{units.many(len(checks), 'check')}; nothing was compared with a baseline"
    return ", ".join([told, *_others(tests)])


def _failures(report: RunReport, joint: str) -> str:
    found = failed(report)
    if not found:
        return ""
    statuses = _statuses([check for test in found for check in test.checks if check.status not in GOOD])
    of = units.many(len(report.tests), "performance test")
    return f"{joint}{len(found)} of {of} failed{f': {statuses}' if statuses else ''}"


def _statuses(checks: Sequence[CheckReport]) -> str:
    """How many checks have which verdict, the worst first."""
    counted = Counter(check.status for check in checks)
    return ", ".join(f"{counted[one]} {one.value}" for one in reversed(Status) if counted[one])


def _others(tests: Sequence[TestReport]) -> Iterator[str]:
    """Tests that did not simply pass; none of them makes the run fail."""
    for outcome, said in (
        ("skipped", "skipped"),
        ("xfailed", "failed as expected"),
        ("xpassed", "passed unexpectedly"),
    ):
        if number := _count(tests, outcome):
            yield f"{units.many(number, 'test')} {said}"


def _count(tests: Sequence[TestReport], outcome: str) -> int:
    return sum(test.outcome == outcome for test in tests)


def _unfinished(report: RunReport) -> str:
    cut = [test for test in report.tests if test.outcome in UNFINISHED]
    told = []
    if cut:
        told.append(f"{len(cut)} of {units.many(len(report.tests), 'performance test')} did not come to an end")
    if problems := report.run.collection_problems:
        told.append(f"{units.many(len(problems), 'module')} could not be collected")
    return "; ".join(told) or "the run did not finish"


def warnings(report: RunReport) -> tuple[str, ...]:
    """What must not be overlooked beside the line for all, each in a sentence of ours without names.

    Args:
        report: the run.
    """
    return tuple(_warnings(report))


def _warnings(report: RunReport) -> Iterator[str]:
    checks = [check for _, check in report.checks]
    if not report.run.complete:
        yield "The run is incomplete: what is missing from it was not judged."
    if skipped := _count(report.tests, "skipped"):
        yield f"{units.many(skipped, 'test')} skipped: nothing of that was measured or judged."
    if unjudged := sum(check.status in UNJUDGED for check in checks):
        yield f"{units.many(unjudged, 'check')} compared with nothing: no slowdown can be found there."
    if noisy := sum(check.status in (Status.NOISY, Status.UNDECIDED) for check in checks):
        yield f"{units.many(noisy, 'check')} cannot be distinguished from noise: a slowdown may be hidden there."
    if recorded := sum(check.status is Status.RECORDED for check in checks):
        yield f"{units.many(recorded, 'check')} recorded as a baseline: nothing was judged there."
    if unchecked := sum(bool(test.unchecked) for test in report.tests):
        tests = units.many(unchecked, "test")
        yield f"{tests} did not look at all that was measured, or did not make a stored check; the notes name what."
