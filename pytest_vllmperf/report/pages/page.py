"""A run as one page of HTML that needs no other file and no network. Tables are plain HTML; plots need its script."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.sweep import Findings
from pytest_vllmperf.records.trends import RunTrends
from pytest_vllmperf.report.pages import facts, library, outcome, overview, shell
from pytest_vllmperf.report.pages.cards import scorecard
from pytest_vllmperf.report.pages.markup import Html, joined, tag
from pytest_vllmperf.report.pages.sections import section
from pytest_vllmperf.report.pages.sweeps import of_markers, sweep
from pytest_vllmperf.report.pages.trends import link, of_run


def page(report: RunReport | None, sweeps: Sequence[Findings] = (), trends: RunTrends | None = None) -> str:
    """The page.

    Args:
        report: the run; None for a page of sweeps alone.
        sweeps: what sweeps came to.
        trends: what a history tells of the checks of the run; None where nobody asked.

    Raises:
        ReportError: where Plotly is not installed.
    """
    sheet = shell.Sheet()
    found = [sweep(sheet, one) for one in sweeps]
    parts = [tag("h1", "vLLM performance report"), *found] if report is None else [*_run(sheet, report, trends), *found]
    end = [] if report is None else [facts.about(report)]
    body = tag(
        "main", *parts, *end, tag("noscript", tag("p", "Plots need JavaScript.", class_="muted")), _footer(report)
    )
    return shell.page(_title(report, sweeps), body, sheet, library.source())


def _run(sheet: shell.Sheet, report: RunReport, trends: RunTrends | None) -> list[Html]:
    rows = overview.rows(report)
    counted = overview.counts(rows)
    by_test = [list(group) for _, group in groupby(sorted(rows, key=attrgetter("place")), attrgetter("place"))]
    places = list(dict.fromkeys(row.place for row in rows))  # the worst first
    sections = [section(sheet, by_test[place]) for place in places]
    over_time = [] if trends is None else [of_run(trends)]
    leading = [] if trends is None else [link(trends)]
    if not rows:
        return [facts.head(report), *over_time]
    return [
        facts.head(report),
        overview.tiles(counted),
        overview.tools(),
        overview.table(rows),
        *of_markers(sheet, report),
        *map(scorecard, report.scorecards),
        *leading,
        tag("h2", "Tests"),
        joined(*sections),
        *over_time,
    ]


def _title(report: RunReport | None, sweeps: Sequence[Findings]) -> str:
    if report is None:
        return f"Sweep {', '.join(one.name for one in sweeps)}"
    return f"{outcome.word(report)}: vLLM performance report"


def _footer(report: RunReport | None) -> Html:
    made = "pytest-vllmperf" if report is None else f"pytest-vllmperf {report.run.plugin}"
    return tag("footer", f"Made by {made}. Plots: Plotly.js. Drag to zoom, double-click to go back.")
