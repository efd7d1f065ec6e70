"""The table on top of a page: a row for each check, and for each test without one, what failed first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.records.check_report import CheckReport
from pytest_vllmperf.records.report import RunReport, TestReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.judged import verdict
from pytest_vllmperf.report.pages import outcome, wording
from pytest_vllmperf.report.pages.deciding import deciding, decisive
from pytest_vllmperf.report.pages.forest import forest
from pytest_vllmperf.report.pages.markup import Html, joined, scrolling, tag

_ORDER: Final = {"bad": 0, "warn": 1, "info": 2, "ok": 3, "none": 4}
_HEADS: Final = (
    ("verdict", ""),
    ("test", ""),
    ("metric", ""),
    ("change", "n"),
    ("", "optional"),
    ("now", "n"),
    ("detects", "n optional"),
)
_KEY: Final = (
    "change: against the baseline, with its confidence interval; the bar shows the interval, the shaded field the "
    "tolerated margin. detects: the smallest slowdown that the baseline detects (80 % of the time)."
)
_FAILED: Final = (*outcome.FAILED, *outcome.UNFINISHED)


@dataclass(frozen=True)
class Row:
    """A check, or a test without one.

    Attributes:
        place: of the test in the run.
        test: it, or that of the check.
        check: None for a test without one.
    """

    place: int
    test: TestReport
    check: CheckReport | None = None

    @property
    def told(self) -> list[str]:
        """What it came to, in a word or two: the verdict, and the test's outcome where the verdict does not say it."""
        if self.check is None:
            return [self.test.outcome.upper()]
        told = [self.check.status.value]
        if self.test.outcome in _FAILED and wording.tone(self.check.status) != "bad":
            told.append(f"TEST {self.test.outcome.upper()}")
        return told

    @property
    def tone(self) -> wording.Tone:
        """How good that is: the worse of both."""
        tones = [wording.outcome_tone(self.test.outcome)] if self.check is None or len(self.told) > 1 else []
        tones += [] if self.check is None else [wording.tone(self.check.status)]
        return min(tones, key=_ORDER.__getitem__)

    @property
    def badges(self) -> Html:
        """The same to look at."""
        if self.check is None:
            return wording.badge(self.told[0], self.tone)
        more = [wording.badge(one, "bad") for one in self.told[1:]]
        return joined(wording.status_badge(self.check.status), *(part for one in more for part in (" ", one)))


def rows(report: RunReport) -> list[Row]:
    """All of a run, the worst first, otherwise in the order of the tests."""
    found = [Row(place, test, check) for place, test in enumerate(report.tests) for check in (test.checks or (None,))]
    return sorted(found, key=lambda one: _ORDER[one.tone])


def anchor(place: int) -> str:
    """The name of a test's section."""
    return f"test-{place + 1}"


def table(found: Iterable[Row]) -> Html:
    """The table.

    Args:
        found: what `rows` came to.
    """
    head = joined(*(tag("th", name, scope="col", class_=kind or None) for name, kind in _HEADS))
    body = joined(*map(_row, found))
    made = tag("table", tag("thead", tag("tr", head)), tag("tbody", body), class_="overview")
    return joined(scrolling(made), tag("p", _KEY, class_="small muted"))


def _row(row: Row) -> Html:
    cells = [
        tag("td", row.badges, class_="w"),
        tag("td", _name(row)),
        *_headline(row),
    ]
    statuses = " ".join(one.replace(" ", "-") for one in row.told)
    return tag("tr", *cells, data_status=statuses)


def _name(row: Row) -> Html:
    """The test's module in grey, its name as a link, and the check's own name."""
    module, _, name = row.test.nodeid.partition("::")
    own = f" · {row.check.name}" if row.check is not None and row.check.name else ""
    link = tag("a", f"{name or module}{own}", href=f"#{anchor(row.place)}")
    return joined(link, *([" ", tag("span", module, class_="muted small")] if name else []))


def _headline(row: Row) -> Iterator[Html]:
    """What says most of it: the metric, its change, its value."""
    line = None if row.check is None else deciding(row.check)
    if row.check is None or line is None or _unjudged(row.check):
        yield tag("td", _reason(row), colspan="5", class_="muted small")
        return
    found = decisive(row.check)
    yield tag("td", line.metric, class_="w")
    yield tag("td", line.change, class_="n")
    yield tag("td", None if found is None else forest(found[0], decides=found[1]), class_="optional")
    yield tag("td", line.now, class_="n")
    yield tag("td", line.margin if found is None or not found[1] else line.detects, class_="n optional")


def _unjudged(check: CheckReport) -> bool:
    """Whether a check has neither a judged metric nor a limit that decided it."""
    found = verdict(check)
    return not (found.metrics or found.information or found.limits)


def _reason(row: Row) -> str:
    """Why there is no metric to show, in a line."""
    check, test = row.check, row.test
    if check is not None:
        return "; ".join(map(str, (*check.reasons, *check.problems))) or _without(check)
    said = _said(test.message)
    made = [
        *([units.many(len(test.measurements), "measurement")] if test.measurements else []),
        *([units.many(len(test.comparisons), "comparison")] if test.comparisons else []),
        *([units.many(len(test.overloads), "overload")] if test.overloads else []),
        *([units.many(len(test.fits), "search") + " for the memory limit"] if test.fits else []),
    ]
    return said or (f"no check; {', '.join(made)}" if made else "no check")


def _said(message: str) -> str:
    """The line of a message that says why: pytest marks those of an exception with an E."""
    lines = [line for line in message.splitlines() if line.strip()]
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (marked or lines or [""])[0]


def _without(check: CheckReport) -> str:
    """Why a check has no judged metric, where it does not say so itself."""
    if check.status is Status.RECORDED:
        return f"recorded for {check.profile}"
    return f"nothing is recorded for {check.profile}" if check.status is Status.NO_BASELINE else "no metric was judged"


def counts(found: Iterable[Row]) -> dict[tuple[str, wording.Tone], int]:
    """How often each verdict or outcome stands in the table, the worst first."""
    counted: dict[tuple[str, wording.Tone], int] = {}
    for row in found:
        for at, word in enumerate(row.told):
            of = row.tone if at or row.check is None else wording.tone(row.check.status)
            counted[word, of] = counted.get((word, of), 0) + 1
    return dict(sorted(counted.items(), key=lambda one: _ORDER[one[0][1]]))


def tiles(counted: dict[tuple[str, wording.Tone], int]) -> Html:
    """Totals of a run, each of which shows its rows alone; without a script they only tell."""
    made = [
        tag(
            "button",
            tag("b", f"{number:,}", class_=of),
            f" {word}",
            type="button",
            class_="tile",
            disabled=True,
            aria_pressed="false",
            data_filter=word.replace(" ", "-"),
        )
        for (word, of), number in counted.items()
    ]
    return tag("div", *made, class_="tiles")


def tools() -> Html:
    """The filter by words; without a script there is none."""
    search = tag(
        "input", type="search", id="search", placeholder="filter by test, metric or engine", aria_label="filter"
    )
    all_of_them = tag("button", "open or close all tests", type="button", id="open-all")
    shown = tag("span", id="shown", class_="muted small", aria_live="polite")
    return tag("div", search, all_of_them, shown, class_="tools")
