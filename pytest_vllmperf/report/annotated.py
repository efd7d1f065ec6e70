"""Annotations of a run: what a CI shows at a test's line, and the commands of GitHub that make them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vllmperf.records.check_report import CheckReport
from pytest_vllmperf.records.report import RunReport, TestReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.escaping import terminal_line, terminal_text
from pytest_vllmperf.report.judged import verdict
from pytest_vllmperf.report.names import shorten
from pytest_vllmperf.report.pages import outcome
from pytest_vllmperf.report.rows import metric_rows

Level = Literal["error", "warning"]

MOST: Final = 10
"""So many annotations of each level GitHub shows of one step of a job; it drops all others without a word."""

_LINES: Final = 12
_TITLE: Final = 200
_MESSAGE: Final = 4_000
"""Characters; GitHub cuts a long message anyway."""


@dataclass(frozen=True)
class Annotation:
    """One annotation.

    Attributes:
        level: an error makes people look, a warning does not.
        title: in a line.
        message: several lines.
        file: of the test, from the root directory of the run; empty for one of the whole run.
        line: in that file, from 1; None where nobody knows.
    """

    level: Level
    title: str
    message: str
    file: str = ""
    line: int | None = None


def annotate(report: RunReport) -> list[Annotation]:
    """At most `MOST` errors and as many warnings, the most important first.

    Args:
        report: the run.
    """
    errors = [*_of_run(report), *(_failed(test) for test in _worst_first(outcome.failed(report)))]
    passed = [test for test in report.tests if test.outcome not in outcome.FAILED]
    warnings = [one for test in _worst_first(passed) for one in _warnings(test)]
    return [*_limited(errors, "error"), *_limited(warnings, "warning")]


def _limited(found: Sequence[Annotation], level: Level) -> Sequence[Annotation]:
    """Not more than are shown; the last one says how many there are."""
    if len(found) <= MOST:
        return found
    more = units.many(len(found) - MOST + 1, f"more {level}")
    return [*found[: MOST - 1], Annotation(level, f"vllmperf: {more}", f"{more}: see the report of the run")]


def _of_run(report: RunReport) -> Iterator[Annotation]:
    """What no test tells: a run that saw nothing, or not all."""
    word = outcome.word(report)
    if word in ("NOTHING JUDGED", "INCOMPLETE", "ERROR") or (word == "FAILED" and not outcome.failed(report)):
        yield Annotation("error", f"vllmperf: {word}", "\n".join([outcome.headline(report), *report.run.notes]))


def _worst_first(tests: Sequence[TestReport]) -> list[TestReport]:
    order = list(Status)
    return sorted(tests, key=lambda test: -max([order.index(check.status) for check in test.checks], default=-1))


def _failed(test: TestReport) -> Annotation:
    """Why a test failed: the beginning of what the terminal says of it."""
    bad = [check.status.value for check in test.checks if check.status not in (*outcome.GOOD, Status.NOISY)]
    lines = test.message.split("\n")
    more = [f"... {units.many(len(lines) - _LINES, 'more line')}"] if len(lines) > _LINES else []
    message = "\n".join([*lines[:_LINES], *more]) or test.outcome
    return Annotation(
        "error", f"{', '.join(dict.fromkeys(bad)) or test.outcome}: {test.nodeid}", message, *_place(test)
    )


def _warnings(test: TestReport) -> Iterator[Annotation]:
    """What did not make its test fail, and is not simply well."""
    for check in test.checks:
        if check.status not in outcome.GOOD:
            name = f" ({check.name})" if check.name else ""
            title = f"{check.status.value}: {test.nodeid}{name}"
            yield Annotation("warning", title, "\n".join(_reasons(check)), *_place(test))


def _reasons(check: CheckReport) -> list[str]:
    told = [one for one in verdict(check).metrics if one.status is not Status.OK]
    return [*check.reasons, *(line.strip() for line in metric_rows(told, width=120))] or [check.status.value]


def _place(test: TestReport) -> tuple[str, int | None]:
    return test.file, test.line


def github(one: Annotation, file: str) -> str:
    """The command, in one line, that makes GitHub show an annotation.

    Args:
        one: the annotation. What it says cannot end the command, or be another one.
        file: from the root of the repository; empty where its file is not in it.
    """
    where = {"file": file, "line": "" if one.line is None or not file else str(one.line)}
    title = shorten(terminal_line(one.title), _TITLE)
    given = ",".join(f"{name}={_property(value)}" for name, value in {**where, "title": title}.items() if value)
    return f"::{one.level} {given}::{_data(shorten(terminal_text(one.message), _MESSAGE))}"


def _data(text: str) -> str:
    """The message of a command: percent signs and ends of lines are written as codes."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property of a command, which ends at a comma or a colon."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
