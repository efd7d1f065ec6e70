"""Annotations: the most important first, not more than are shown, and no name can end a command or be one."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report.annotated import MOST, Annotation, annotate, github
from tests.reporting import HOSTILE, check, metric, one_test, run_of

COMMAND = re.compile(r"::(error|warning) ((?:\w+=[^,:\r\n]*,?)+)::([^\r\n]*)")


def of(*statuses: Status) -> list[Annotation]:
    bad = (Status.REGRESSED, Status.DRIFTED, Status.NO_BASELINE, Status.BEYOND_LIMIT)
    tests = [
        one_test(
            f"t.py::test_{number}",
            check(metric("ttft.p50", (1.0,), gated=True), status=status),
            outcome="failed" if status in bad else "passed",
            message=f"{status.value} because" if status in bad else "",
            line=number + 1,
        )
        for number, status in enumerate(statuses)
    ]
    return annotate(red(run_of(*tests)))


def red(report: RunReport) -> RunReport:
    failed = any(test.outcome == "failed" for test in report.tests)
    return report.model_copy(update={"run": report.run.model_copy(update={"exit_status": int(failed)})})


def test_a_regression_is_an_error_on_its_line() -> None:
    (found,) = of(Status.OK, Status.REGRESSED)
    assert found == Annotation("error", "REGRESSED: t.py::test_1", "REGRESSED because", "test_a.py", 2)


@pytest.mark.parametrize("status", [Status.NOISY, Status.NOT_COMPARABLE, Status.INVALID])
def test_what_did_not_fail_its_test_is_a_warning(status: Status) -> None:
    (found,) = of(Status.OK, status)
    assert (found.level, found.title, found.line) == ("warning", f"{status.value}: t.py::test_1", 2)


def test_a_green_run_has_none() -> None:
    assert of(Status.OK, Status.IMPROVED, Status.RECORDED) == []


def test_the_most_important_first_and_not_more_than_are_shown() -> None:
    found = of(*[Status.NO_BASELINE] * 12, Status.REGRESSED, *[Status.NOISY] * 3)
    errors = [one for one in found if one.level == "error"]
    assert len(errors) == MOST
    assert errors[0].title == "REGRESSED: t.py::test_12"
    assert errors[-1].title == "vllmperf: 4 more errors"
    assert errors[-1].file == ""
    assert len(found) - len(errors) == 3


@pytest.mark.parametrize(("more", "title"), [
    ({"exit_status": 5}, "vllmperf: NOTHING JUDGED"),
    ({"complete": False}, "vllmperf: INCOMPLETE"),
    ({"exit_status": 4}, "vllmperf: ERROR"),
    ({"exit_status": 1}, "vllmperf: FAILED"),
])  # fmt: skip
def test_what_no_test_tells_is_an_error_of_the_run(more: dict[str, object], title: str) -> None:
    tests = [] if more.get("exit_status") == 5 else [one_test("t", check(metric("ttft.p50", (1.0,))))]
    report = run_of(*tests)
    (found,) = annotate(report.model_copy(update={"run": report.run.model_copy(update=more)}))
    assert (found.level, found.title, found.file) == ("error", title, "")


def test_the_command() -> None:
    one = Annotation("error", "REGRESSED: a,b", "50 % slower\nsee", "test_a.py", 3)
    assert github(one, "sub/test_a.py") == (
        "::error file=sub/test_a.py,line=3,title=REGRESSED%3A a%2Cb::50 %25 slower%0Asee"
    )


def test_without_a_file_there_is_no_line() -> None:
    assert github(Annotation("warning", "t", "m", "x.py", 3), "") == "::warning title=t::m"


@given(st.text(), st.text(), st.text(min_size=1))
@pytest.mark.parametrize("level", ["error", "warning"])
def test_any_text_stays_in_its_place(level: str, title: str, message: str, file: str) -> None:
    line = github(Annotation(level, title, message, "x", 1), file)  # type: ignore[arg-type]
    assert COMMAND.fullmatch(line)
    assert line.count("\n") == line.count("\r") == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str) -> None:
    test = one_test(f"t.py::test[{name}]", check(status=Status.REGRESSED), outcome="failed", message=name, line=1)
    (found,) = annotate(red(run_of(test)))
    match = COMMAND.fullmatch(github(found, name))
    assert match
    assert not re.search(r"(?m)^\s*::|##\[", unquote(match[3]))
