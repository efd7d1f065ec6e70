"""What became of each test, out of the reports of its phases."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.harness.seen import BY_VERDICT, LOG_TAIL, MOST, Seen
from pytest_vllmperf.records.report import TestReport
from pytest_vllmperf.records.results import TestResults

LOCATION = ("t.py", 4, "a")


def report(when: str, outcome: str = "passed", text: Any = None, nodeid: str = "t.py::a", **more: Any) -> Any:
    """A report of one phase, which took a second."""
    made = pytest.TestReport(nodeid, LOCATION, {}, outcome, text, when, duration=1.0)  # type: ignore[arg-type]
    for name, value in more.items():
        setattr(made, name, value)
    return made


def seen(*reports: Any, selected: tuple[str, ...] = ("t.py::a",)) -> tuple[TestReport, ...]:
    """The tests that these reports make."""
    book = Seen()
    book.selected(selected)
    for one in reports:
        book.add(one, TestResults() if one.when == "teardown" else None, performance_test=True)
    return book.reports()


@pytest.mark.parametrize(
    ("phases", "outcome"),
    [
        ([("setup", "passed"), ("call", "passed"), ("teardown", "passed")], "passed"),
        ([("setup", "passed"), ("call", "failed"), ("teardown", "passed")], "failed"),
        ([("setup", "passed"), ("call", "failed"), ("teardown", "failed")], "failed"),
        ([("setup", "failed"), ("teardown", "passed")], "error"),
        ([("setup", "passed"), ("call", "passed"), ("teardown", "failed")], "error"),
        ([("setup", "skipped"), ("teardown", "passed")], "skipped"),
        ([("setup", "passed"), ("call", "skipped"), ("teardown", "passed")], "skipped"),
        ([("setup", "passed"), ("teardown", "passed")], "interrupted"),
        ([("setup", "passed")], "interrupted"),
        ([("???", "failed")], "error"),
        ([], "not run"),
    ],
)
def test_one_word_for_all_phases(phases: list[tuple[str, str]], outcome: str) -> None:
    (test,) = seen(*(report(when, how) for when, how in phases))
    assert (test.outcome, test.seconds) == (outcome, float(len(phases)))


VERDICT = {BY_VERDICT: True}


@pytest.mark.parametrize(
    ("phases", "failed_by"),
    [
        ([("call", "passed", {}), ("teardown", "passed", {})], ""),
        ([("call", "skipped", {})], ""),
        ([("call", "failed", VERDICT), ("teardown", "passed", {})], "verdict"),
        ([("call", "passed", {}), ("teardown", "failed", VERDICT)], "verdict"),
        ([("call", "failed", {}), ("teardown", "passed", {})], "other"),
        ([("call", "failed", VERDICT), ("teardown", "failed", {})], "other"),
        ([("call", "failed", VERDICT), ("call", "failed", {}), ("teardown", "passed", {})], "other"),
        ([("???", "failed", {})], "other"),
    ],
)
def test_what_failed_a_test(phases: list[tuple[str, str, dict[str, bool]]], failed_by: str) -> None:
    (test,) = seen(*(report(when, how, **more) for when, how, more in phases))
    assert test.failed_by == failed_by


def test_failed_tests_of_other_kinds() -> None:
    book = Seen()
    book.selected(["t.py::a"])
    for nodeid, how in (("t.py::a", "failed"), ("u.py::b", "failed"), ("u.py::c", "passed"), ("u.py::d", "skipped")):
        for when in ("setup", "call"):
            made = report(when, how if when == "call" else "passed", nodeid=nodeid)
            book.add(made, None, performance_test=nodeid == "t.py::a")
    again = [report("setup", nodeid="u.py::b"), report("call", nodeid="u.py::b")]
    assert book.others_failed() == ("u.py::b",)
    for made in again:  # it is run once more, and passes
        book.add(made, None, performance_test=False)
    assert book.others_failed() == ()


def test_expected_failures() -> None:
    outcomes = [
        seen(report("setup"), report("call", how, wasxfail="known"), report("teardown"))[0]
        for how in ("skipped", "passed")
    ]
    assert [(one.outcome, one.message) for one in outcomes] == [("xfailed", "known"), ("xpassed", "known")]


def test_the_last_run_of_a_test_that_is_run_again_counts() -> None:
    first = [report("setup"), report("call", "rerun", "attempt 1"), report("teardown", "failed", "attempt 1")]
    (test,) = seen(*first, report("setup"), report("call", "failed", "attempt 2"), report("teardown"))
    assert (test.outcome, test.message, test.seconds) == ("failed", "attempt 2", 3.0)
    assert seen(*first, report("setup"), report("call"), report("teardown"))[0].outcome == "passed"


def test_every_phase_that_failed_says_why() -> None:
    sections = [(LOG_TAIL, "the log"), ("Captured stdout call", "printed")]
    (test,) = seen(
        report("setup"), report("call", "failed", "one", sections=sections), report("teardown", "failed", "two")
    )
    assert (test.message, test.log_tail) == ("one\ntwo", "the log")
    (test,) = seen(report("setup", "skipped", ("t.py", 5, "Skipped: no GPU")))
    assert (test.message, test.file, test.line) == ("no GPU", "t.py", 5)


def test_a_long_message_is_cut_and_says_so() -> None:
    (test,) = seen(report("setup"), report("call", "failed", "a" * MOST + "b" * MOST))
    assert test.message == f"{'a' * (MOST // 2)}\n... 20,000 characters are left out ...\n{'b' * (MOST // 2)}"


def test_tests_stand_in_the_order_in_which_they_were_collected() -> None:
    order = ("t.py::a", "t.py::b", "t.py::c")
    ended = [report(when, nodeid=nodeid) for nodeid in reversed(order) for when in ("setup", "call", "teardown")]
    assert tuple(one.nodeid for one in seen(*ended, selected=order)) == order


def test_without_word_of_a_worker_the_order_of_running_counts() -> None:
    book = Seen()
    book.ordered(["t.py::b", "t.py::plain", "t.py::a"])
    for nodeid in ("t.py::a", "t.py::b"):
        book.started(nodeid, LOCATION)
    book.add(report("setup"), None, performance_test=True)
    assert [(one.nodeid, one.outcome) for one in book.reports()] == [
        ("t.py::b", "interrupted"),
        ("t.py::a", "interrupted"),
    ]
    book.selected(["t.py::a"])
    assert [one.nodeid for one in book.reports()] == ["t.py::a"]


def test_other_tests_are_not_in_it_unless_their_worker_died() -> None:
    book = Seen()
    for when in ("setup", "call", "teardown"):
        book.add(report(when), None, performance_test=False)
    assert book.reports() == ()
    book.add(report("???", "failed", "worker crashed", nodeid="t.py::b"), None, performance_test=False)
    assert [(one.nodeid, one.outcome, one.message) for one in book.reports()] == [
        ("t.py::b", "error", "worker crashed")
    ]
