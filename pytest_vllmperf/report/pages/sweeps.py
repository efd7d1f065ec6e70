"""Sweeps on a page: of a study its curves, its front, and a row for each point; of tests of one marker their curves."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.sweep import Findings
from pytest_vllmperf.report import points, sweeps, units
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.markup import Column, Html, more, paragraphs, table, tag
from pytest_vllmperf.report.pages.plots import points as point_plots
from pytest_vllmperf.report.pages.plots.sweeps import curves, front
from pytest_vllmperf.report.pages.shell import Sheet


def sweep(sheet: Sheet, found: Findings) -> Html:
    """All that a sweep came to.

    Args:
        sheet: takes the plots.
        found: what its results say.
    """
    counted = units.many(len(found.figures), "point")
    missing = f"{counted}, {found.missing:,} still to measure" if found.missing else counted
    alert = wording.badge("INCOMPLETE", "warn") if found.missing else None
    axes = list(found.figures[0].result.settings) if found.figures else []
    columns = [
        *(Column(axis) for axis in axes),
        *(Column(head, "n" if head else None) for head in sweeps.heads(found)),
    ]
    rows = [
        [*(points.shown(one.result.settings[axis]) for axis in axes), *sweeps.cells(place, one, found)]
        for place, one in enumerate(found.figures)
    ]
    return tag(
        "section",
        tag("h2", f"Sweep {found.name} "),
        tag("p", alert, f" {found.engine}: {missing}", class_="muted"),
        sheet.put(*curves(found), front(found)),
        paragraphs(sweeps.said(found), "small"),
        more(f"Table of {counted}", table(columns, rows)),
    )


def of_markers(sheet: Sheet, report: RunReport) -> Iterator[Html]:
    """The curves of tests that the `sweep` marker made.

    Args:
        sheet: takes the plots.
        report: the run.
    """
    for name, tests in point_plots.groups(report.tests).items():
        if plots := sheet.put(*point_plots.curves(tests)):
            yield tag("section", tag("h2", f"Sweep {name}"), plots)
