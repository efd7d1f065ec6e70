"""A run that saw nothing, or not all, never reads like one that found nothing wrong."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.records.report import CollectionProblem, RunReport, TestReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report.pages import outcome
from tests.reporting import check, metric, one_test, run_of


def test_of(status: Status, **more: Any) -> TestReport:
    return one_test("a", check(metric("ttft.p50", (1.0,)), status=status), **more)


test_of.__test__ = False  # type: ignore[attr-defined]


def run(*tests: TestReport, **more: Any) -> RunReport:
    report = run_of(*tests)
    return report.model_copy(update={"run": report.run.model_copy(update=more)})


OK, BAD = test_of(Status.OK), test_of(Status.REGRESSED, outcome="failed")
SKIPPED = one_test("s", outcome="skipped")
RED = {"outcome": "failed", "exit_status": 1}
PROBLEM = CollectionProblem(nodeid="b.py", message="x")

SAID = [
    (run(OK, OK), "PASSED: 2 checks: 2 OK"),
    (run(OK, test_of(Status.NOISY), SKIPPED), "PASSED: 2 checks: 1 NOISY, 1 OK, 1 test skipped"),
    (run(test_of(Status.RECORDED)), "RECORDED: 1 check; nothing was compared with a baseline"),
    (run(OK, BAD, **RED), "FAILED: 1 of 2 performance tests failed: 1 REGRESSED"),
    (run(one_test("e", outcome="error"), **RED), "FAILED: 1 of 1 performance test failed"),
    (run(OK, **RED), "FAILED: no performance test failed, but the run ended with exit status 1"),
    (run(SKIPPED, SKIPPED, **RED), "NOTHING JUDGED: all 2 performance tests were skipped"),
    (run(SKIPPED), "NOTHING JUDGED: the only performance test was skipped"),
    (run(outcome="no tests collected", exit_status=5), "NOTHING JUDGED: no performance test was selected"),
    (run(), "NOTHING JUDGED: no performance test was selected"),
    (
        run(one_test("a"), notes=("ERROR: nothing was judged: no measurement",), **RED),
        "NOTHING JUDGED: no measurement was checked or compared",
    ),
    (run(one_test("a")), "PASSED: 1 of 1 performance test; none has a check"),
    (
        run(OK, one_test("b", outcome="not run"), complete=False, outcome="interrupted", exit_status=2),
        "INCOMPLETE: 1 of 2 performance tests did not come to an end",
    ),
    (
        run(BAD, complete=False, collection_problems=(PROBLEM,), **RED),
        "INCOMPLETE: 1 module could not be collected; 1 of 1 performance test failed: 1 REGRESSED",
    ),
    (run(OK, complete=False, outcome="interrupted", exit_status=2), "INCOMPLETE: the run did not finish"),
    (
        run(BAD, outcome="internal error", exit_status=3),
        "ERROR: the run ended with exit status 3 (internal error); 1 of 1 performance test failed: 1 REGRESSED",
    ),
    (run(OK, outcome="usage error", exit_status=4), "ERROR: the run ended with exit status 4 (usage error)"),
]


@pytest.mark.parametrize(("report", "said"), SAID, ids=[said for _, said in SAID])
def test_the_line_for_all(report: RunReport, said: str) -> None:
    assert outcome.headline(report) == said


@pytest.mark.parametrize(("test", "said"), [
    (SKIPPED, "1 test skipped: nothing of that was measured or judged."),
    (test_of(Status.NO_BASELINE), "1 check compared with nothing: no slowdown can be found there."),
    (test_of(Status.NOT_COMPARABLE), "1 check compared with nothing: no slowdown can be found there."),
    (test_of(Status.INVALID), "1 check compared with nothing: no slowdown can be found there."),
    (test_of(Status.NOISY), "1 check cannot be distinguished from noise: a slowdown may be hidden there."),
    (test_of(Status.RECORDED), "1 check recorded as a baseline: nothing was judged there."),
    (
        one_test("u", unchecked=("x",)),
        "1 test did not look at all that was measured, or did not make a stored check; the notes name what.",
    ),
])  # fmt: skip
def test_what_must_not_be_overlooked(test: TestReport, said: str) -> None:
    assert outcome.warnings(run(OK, test)) == (said,)
    assert outcome.warnings(run(OK, OK)) == ()


def test_an_incomplete_run_says_so() -> None:
    assert "The run is incomplete: what is missing from it was not judged." in outcome.warnings(run(OK, complete=False))
