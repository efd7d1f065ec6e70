"""Whether a run judged anything, from the reports of its tests."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pytest_vllmperf.harness.outcomes import Outcomes
from pytest_vllmperf.records.results import TestResults


def report(nodeid: str, when: str, outcome: str, **more: object) -> pytest.TestReport:
    made = pytest.TestReport(nodeid, ("f", 1, "t"), {}, cast(Any, outcome), None, cast(Any, when))
    for name, value in more.items():
        setattr(made, name, value)
    return made


def of(*reports: pytest.TestReport, asserted: bool = False) -> Outcomes:
    outcomes = Outcomes()
    for one in reports:
        outcomes.add(one, performance_test=one.nodeid.startswith("perf"))
    outcomes.add_results(TestResults(asserted=asserted))
    return outcomes


PASSED = [report("perf", when, "passed") for when in ("setup", "call", "teardown")]


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (of(), "no performance test was selected"),
        (of(report("ordinary", "call", "passed")), "no performance test was selected"),
        (of(report("perf", "setup", "skipped")), "the only performance test was skipped"),
        (of(report("perf", "setup", "skipped"), report("perf2", "call", "skipped")), "all 2 performance tests were"),
        (of(*PASSED), "no measurement was checked or compared"),
        (of(report("perf", "call", "skipped", wasxfail="known")), "no measurement was checked or compared"),
    ],
)
def test_nothing_was_judged(outcomes: Outcomes, words: str) -> None:
    reason = outcomes.nothing_judged()
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(
    "outcomes",
    [
        of(*PASSED, asserted=True),
        of(report("perf", "setup", "failed")),
        of(report("perf", "call", "failed")),
        of(report("perf", "call", "skipped", wasxfail="known"), asserted=True),
    ],
)
def test_something_was(outcomes: Outcomes) -> None:
    assert outcomes.nothing_judged() is None


def test_a_test_that_failed_as_expected_has_not_passed() -> None:
    outcomes = of(report("perf", "call", "skipped", wasxfail="known"), report("perf", "teardown", "passed"))
    assert outcomes.failed == {"perf"}
    assert outcomes.ended == {"perf"}
