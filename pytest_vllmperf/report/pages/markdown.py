"""A run as Markdown, as a summary of a CI job or a comment on a pull request shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pytest_vllmperf.records.problems import in_words
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import attributions, units
from pytest_vllmperf.report.failed import changed_lines
from pytest_vllmperf.report.judged import verdict
from pytest_vllmperf.report.limits import limit_lines
from pytest_vllmperf.report.pages import changes, deciding, gfm, more, outcome
from pytest_vllmperf.report.pages.bounded import COMMENT, Part, Sheet, shortened
from pytest_vllmperf.report.rows import has_something_to_tell, metric_rows

if TYPE_CHECKING:
    from pytest_vllmperf.records.check_report import CheckReport
    from pytest_vllmperf.records.report import RunReport, TestReport
    from pytest_vllmperf.records.trends import RunTrends

_RIGHT: Final = (3, 4, 5, 6)
_LEAST_MESSAGE: Final = 1_500
"""Bytes that a failed test's message gets at least; its beginning says what got worse."""
_MOST_MESSAGE: Final = 8_000
_FOR_MESSAGES: Final = 0.8
"""Share of the room left that messages of failed tests may take together."""
_DETECTS: Final = "detects: smallest slowdown that the baseline detects (80 % of the time)"


def document(report: RunReport, most: int = COMMENT, trends: RunTrends | None = None) -> str:
    """The document: what the run came to in a line, failed tests first, all that is well folded.

    Args:
        report: the run.
        most: bytes that it may have. What does not fit is left out whole, the least important first, and a line says
            what that is.
        trends: what a history tells of the checks of the run; None where nobody asked.
    """
    sheet = Sheet(most)
    sheet.add(Part(f"## vllmperf: {outcome.headline(report)}", "headline"))
    if told := outcome.warnings(report):
        sheet.add(Part("\n".join(f"- **{line}**" for line in told), "warning"))
    bad, good = _sorted(report.tests)
    columns = gfm.head(_titles(report), _RIGHT)
    sheet.group(columns, [Part(row, "failed row") for test in bad for row in _rows(test)], "", joint="\n")
    if bad:
        sheet.add(Part(_DETECTS, "caption"))
    _notes(sheet, report)
    _failures(sheet, bad)
    _others(sheet, good, columns)
    if trends is not None:
        changes.add(sheet, trends)
    more.add(sheet, report)
    return sheet.text()


def _sorted(tests: Sequence[TestReport]) -> tuple[list[TestReport], list[TestReport]]:
    """Tests that somebody should look at, the worst first, and all others in their order."""
    bad = [test for test in tests if _rank(test) > 0]
    return sorted(bad, key=_rank, reverse=True), [test for test in tests if _rank(test) == 0]


def _rank(test: TestReport) -> int:
    """How bad a test is: zero for one that is well, or was skipped. One that cannot tell is not well."""
    order = list(Status)
    worst = max([order.index(one.status) for one in test.checks if one.status not in outcome.GOOD], default=0)
    if test.outcome in outcome.FAILED:
        return worst + 100
    return worst + (50 if test.outcome in outcome.UNFINISHED else 0)


def _titles(report: RunReport) -> list[str]:
    """The heads of the columns; where all intervals have one confidence, it stands there."""
    interval = deciding.interval_head(check for _, check in report.checks)
    return ["verdict", "test", "metric", "now", f"change [{interval}]", "margin", "detects"]


def _rows(test: TestReport) -> Iterator[str]:
    """A row for each check; one for a test without any."""
    for check in test.checks:
        line = deciding.deciding(check)
        own = f" {gfm.cell(check.name)}" if check.name else ""
        figures = map(gfm.figure, (line.metric, line.now, line.change, line.margin, line.detects))
        yield gfm.row([_verdict(test, check), f"{gfm.cell(test.nodeid)}{own}", *figures])
    if not test.checks:
        yield gfm.row([_outcome(test), gfm.cell(test.nodeid), *[deciding.NONE] * 5])


def _verdict(test: TestReport, check: CheckReport) -> str:
    """The verdict, and the outcome of its test where that is another one."""
    status = check.status.value if check.status in (Status.OK, Status.RECORDED) else f"**{check.status.value}**"
    expected = "passed" if check.status in (*outcome.GOOD, Status.NOISY) else "failed"
    return status if test.outcome == expected else f"{status} ({_outcome(test)})"


def _outcome(test: TestReport) -> str:
    return {"error": "**error**", "xfailed": "failed as expected", "xpassed": "passed unexpectedly"}.get(
        test.outcome, test.outcome if test.outcome in ("passed", "skipped") else f"**{test.outcome}**"
    )


def _notes(sheet: Sheet, report: RunReport) -> None:
    """What the report of the run ends with, such as errors, and what could not be collected."""
    if report.run.notes:
        sheet.add(Part(gfm.block(shortened("\n".join(report.run.notes), _MOST_MESSAGE)), "note"))
    for problem in report.run.collection_problems:
        message = gfm.block(shortened(problem.message, _LEAST_MESSAGE))
        sheet.add(Part(f"Could not be collected: {gfm.code(problem.nodeid)}\n\n{message}", "collection problem"))


def _failures(sheet: Sheet, tests: Sequence[TestReport]) -> None:
    """Why each of these failed, in the words of the terminal; the messages share the room."""
    share = int(sheet.room * _FOR_MESSAGES / max(1, len(tests)))
    most = min(_MOST_MESSAGE, max(_LEAST_MESSAGE, share))
    for test in tests:
        lines = test.message or "\n".join(line for check in test.checks for line in _told(check))
        texts = [f"### {gfm.code(test.nodeid)}", *([gfm.block(shortened(lines, most))] if lines else [])]
        if test.log_tail:
            folded = gfm.summary("end of the engine's log")
            texts += [f"<details>{folded}", gfm.block(shortened(test.log_tail, most)), "</details>"]
        sheet.add(Part("\n\n".join(texts), "failure message"))


def _others(sheet: Sheet, tests: Sequence[TestReport], columns: str) -> None:
    """All that is well, folded: one row for each check, then what else is to be known of them."""
    if not tests:
        return
    skipped = [test for test in tests if test.outcome == "skipped"]
    passed = [test for test in tests if test.outcome != "skipped"]
    rows = [Part(row, "passed row") for test in passed for row in _rows(test)]
    words = f"{units.many(len(passed), 'test')} without a failure; {_DETECTS}"
    sheet.group(f"<details>{gfm.summary(words)}\n\n{columns}", rows, "\n</details>", joint="\n")
    told = {test.nodeid: [line for check in test.checks for line in _told(check)] for test in passed}
    remarks = [
        Part(f"{gfm.code(nodeid)}\n\n{gfm.block(shortened(chr(10).join(lines), _LEAST_MESSAGE))}", "remark")
        for nodeid, lines in told.items()
        if lines
    ]
    sheet.group(f"<details>{gfm.summary('remarks on these')}", remarks, "</details>")
    reasons = [f"- {gfm.code(test.nodeid)}: {gfm.code(test.message)}" for test in skipped]
    opening = f"<details>{gfm.summary(units.many(len(skipped), 'skipped test'))}\n"
    sheet.group(opening, [Part(line, "skipped test") for line in reasons], "\n</details>", joint="\n")


def _told(check: CheckReport) -> Iterator[str]:
    """What is to be known of a check whose test has no message: of one that is OK, only what changed, if anything."""
    found = verdict(check)
    against = "baseline" if check.reference is None else "reference"
    head = f"check {check.name!r}: " if check.name else ""
    told = [one for one in found.metrics if has_something_to_tell(one)]
    if check.status not in (Status.OK, Status.RECORDED):
        yield f"{head}{check.status.value}" + (f": {'; '.join(check.reasons)}" if check.reasons else "")
    yield from metric_rows(told)
    yield from (line for one in check.limits if one.status is not Status.OK for line in limit_lines(one))
    yield from attributions.below_verdicts(found, check.attribution, against=against)
    if check.attribution is not None and (launches := attributions.launch_line(check.attribution)):
        yield launches
    if check.changed:
        yield from changed_lines(check.changed, against)
    if check.reference is not None:
        yield f"judged by the ratio to {check.reference.name}, measured in turns, {check.reference.way}"
    if check.excluded:
        yield f"one engine start left out: {in_words(check.excluded)}"
    yield from check.notes
    if check.left_out:
        yield f"did not join its baseline: {check.left_out}"
