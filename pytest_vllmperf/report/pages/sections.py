"""The section of one test on a page: folded unless it failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.report import TestReport
from pytest_vllmperf.records.results import ComparisonRecord, FitRecord
from pytest_vllmperf.report import fits, units
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.checks import measured
from pytest_vllmperf.report.pages.deciding import NONE, deciding
from pytest_vllmperf.report.pages.markup import Column, Content, Html, facts, joined, more, table, tag
from pytest_vllmperf.report.pages.overloads import overload
from pytest_vllmperf.report.pages.overview import Row, anchor
from pytest_vllmperf.report.pages.shell import Sheet

_MOST_TEXT: Final = 200_000
"""Characters of one message or log."""


def section(sheet: Sheet, rows: Sequence[Row]) -> Html:
    """A test with all that it measured.

    Args:
        sheet: takes the plots.
        rows: of the table on top that are about this test; at least one.
    """
    test, place = rows[0].test, rows[0].place
    parts = [
        _facts(test),
        _message(test, folded=any(row.check is not None and row.tone == "bad" and len(row.told) == 1 for row in rows)),
        *(_check(sheet, row, alone=len(rows) == 1) for row in rows if row.check is not None),
        *(
            tag("div", tag("h3", "Measured, not checked"), measured(sheet, one), class_="check")
            for one in test.measurements
        ),
        *map(_comparison, test.comparisons),
        *(overload(sheet, one) for one in test.overloads),
        *map(_fit, test.fits),
        _log(test),
    ]
    statuses = " ".join(one.replace(" ", "-") for row in rows for one in row.told)
    bad = any(row.tone == "bad" for row in rows)
    words = " ".join([test.nodeid, *(f"{one.name} {one.engine}" for one in test.checks)])
    return tag(
        "details",
        tag("summary", *_summary(rows)),
        tag("div", *parts, class_="body"),
        class_="test",
        id=anchor(place),
        open=bad,
        data_status=statuses,
        data_text=words,
    )


def _summary(rows: Sequence[Row]) -> list[Html]:
    """The verdicts, the name, and what says most."""
    worst = rows[0]
    line = None if worst.check is None else deciding(worst.check)
    said = "" if line is None or line.change == NONE else f"{line.metric} {line.change}"
    more_checks = f" ({len(rows)} checks)" if len(rows) > 1 else ""
    return [
        worst.badges,
        tag("strong", f"{worst.test.nodeid}{more_checks}"),
        *([tag("span", said, class_="headline")] if said else []),
    ]


def _facts(test: TestReport) -> Html:
    place = f"{test.file}:{test.line}" if test.line is not None else test.file
    pairs: list[tuple[str, Content]] = [
        ("test", joined(wording.outcome_badge(test.outcome), f" in {test.seconds:,.1f} s, {place}")),
        ("not looked at", "; ".join(test.unchecked)),
    ]
    return facts(pairs)


def _message(test: TestReport, *, folded: bool) -> Html:
    """Why it failed, or was skipped; folded where a verdict below says the same."""
    if not test.message.strip():
        return Html()
    text = tag("pre", _cut(test.message.strip()))
    return more("The failure as the terminal shows it", text) if folded else text


def _log(test: TestReport) -> Html:
    if not test.log_tail.strip():
        return Html()
    return joined(
        tag("h3", "End of the engine's log"), tag("pre", _cut(test.log_tail.rstrip()), class_="log", tabindex="0")
    )


def _cut(text: str) -> str:
    """Text at whose end the reason stands."""
    return text if len(text) <= _MOST_TEXT else f"…{text[-_MOST_TEXT:]}"


def _check(sheet: Sheet, row: Row, *, alone: bool) -> Html:
    check = row.check
    if check is None:
        return Html()
    head = (
        tag("h3", wording.status_badge(check.status), f" check {check.name}".rstrip())
        if check.name or not alone
        else None
    )
    return tag("div", head, measured(sheet, check), class_="check")


def _comparison(found: ComparisonRecord) -> Html:
    """How many times better one engine is than another."""
    rows: list[list[Content]] = [
        [
            METRICS[one.metric].label if one.metric in METRICS else one.metric,
            f"{one.ratio:.3g}x",
            f"[{one.low:.3g}, {one.high:.3g}]",
            units.count(one.rounds),
        ]
        for one in found.ratios
    ]
    columns = [Column("metric"), Column("ratio", "n"), Column("99 % CI", "n"), Column("rounds", "n")]
    same = found.quality
    pairs: list[tuple[str, Content]] = [
        ("first", tag("span", found.a, class_="mono")),
        ("reference", tag("span", found.b, class_="mono")),
        ("device", found.way),
        ("left out", "; ".join(map(str, found.excluded))),
    ]
    if same is not None:
        pairs.append(
            (
                "quality",
                f"greedy agreement {same.agreement:.0%} of {same.tokens} tokens, log-probability difference "
                f"{same.logprob_difference:.2g}, top-1 agreement {same.top1_agreement:.0%} "
                f"({units.many(same.prompts, 'prompt')})",
            )
        )
    return tag("div", tag("h3", "Comparison"), facts(pairs), table(columns, rows) if rows else None, class_="check")


def _fit(found: FitRecord) -> Html:
    """The memory limit that was found, and all that was tried."""
    columns = [Column(head, "n" if head in ("max_model_len", "s") else None) for head in fits.COLUMNS]
    rows = [fits.cells(one) for one in found.tries]
    tries = "try" if len(rows) == 1 else "tries"
    return tag(
        "div",
        tag("h3", "Memory limit"),
        tag("pre", found.marker),
        more(f"{len(rows):,} {tries}", table(columns, rows)),
        class_="check",
    )
