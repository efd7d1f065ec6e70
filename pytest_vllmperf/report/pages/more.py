"""What follows the tests in a Markdown report, all of it folded: kernels, comparisons, scorecards, the environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.records.problems import in_words
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.report import RunReport, ScorecardReport, ScorecardRow
from pytest_vllmperf.report import kernels, scorecards, units
from pytest_vllmperf.report.pages import gfm
from pytest_vllmperf.report.pages.bounded import Part, Sheet
from pytest_vllmperf.report.terminal import comparison_words

_WIDTH: Final = 110
"""Columns of a table of kernels."""


def add(sheet: Sheet, report: RunReport) -> None:
    """Add all of it, the most important first.

    Args:
        sheet: the document.
        report: the run.
    """
    _folded(sheet, "GPU kernels", _kernels(report), "kernel table")
    _folded(sheet, "comparisons", _comparisons(report), "comparison")
    _folded(sheet, "scorecards", _scorecards(report), "scorecard")
    _folded(sheet, "environment", _environment(report), "environment table")


def _folded(sheet: Sheet, title: str, texts: Iterator[str], what: str) -> None:
    sheet.group(f"<details>{gfm.summary(title)}", [Part(text, what) for text in texts], "</details>")


def _kernels(report: RunReport) -> Iterator[str]:
    """Of each check that is not OK the kernels on both sides."""
    for test, check in report.checks:
        found = check.attribution
        if found is None or not found.kernels or check.status.value == "OK":
            continue
        sides = ("baseline", "now") if check.reference is None else (check.reference.name, check.engine)
        table = "\n".join(kernels.comparison_lines(found, sides, width=_WIDTH))
        yield f"{' '.join(filter(None, map(gfm.code, (test.nodeid, check.name))))}\n\n{gfm.block(table)}"


def _comparisons(report: RunReport) -> Iterator[str]:
    for test in report.tests:
        for record in test.comparisons:
            lines = [f"{record.a} against {record.b}, {record.way}"]
            lines += [f"  {words}" for words in comparison_words(record)]
            lines += [f"  one round left out: {in_words(record.excluded)}"] if record.excluded else []
            yield f"{gfm.code(test.nodeid)}\n\n{gfm.block(chr(10).join(lines))}"


@dataclass(frozen=True)
class _Row:
    """A row of a report, as tables of scorecards take it."""

    shown: ScorecardRow

    @property
    def configuration(self) -> str:
        return self.shown.configuration

    def value(self, metric: str) -> float | None:
        return self.shown.values.get(metric)


@dataclass(frozen=True)
class _Line:
    row: _Row
    speedup: Ratio | None
    saved: float | None
    agreement: float | None
    cost: float | None


@dataclass(frozen=True)
class _Card:
    name: str
    baseline: str
    lines: Sequence[_Line]
    notes: Sequence[str]


def _scorecards(report: RunReport) -> Iterator[str]:
    for card in report.scorecards:
        title = f"{gfm.code(card.name)} on {gfm.code(card.profile)}"
        yield "\n".join([title, "", *scorecards.markdown_lines(_card(card), gfm.cell)]).rstrip()


def _card(card: ScorecardReport) -> _Card:
    lines = [_Line(_Row(row), row.speedup, row.saved, row.agreement, row.cost) for row in card.rows]
    void = [f"{row.configuration}: {in_words(row.problems)}" for row in card.rows if row.problems]
    return _Card(card.name, card.baseline, lines, [*card.notes, *(one for one in void if one not in card.notes)])


def _environment(report: RunReport) -> Iterator[str]:
    """Where it ran, and what it wrote."""
    run, here = report.run, report.run.machine
    told = {
        "device": here.device,
        "driver": here.driver or "",
        "vLLM": here.vllm or "not installed",
        "Python": here.python,
        "platform": here.platform,
        "pytest": here.pytest,
        "pytest-vllmperf": run.plugin,
        "commit": f"{run.commit}{' with local changes' if run.dirty else ''}" if run.commit else "",
        "baselines": run.mode,
        "started": run.started,
        "took": units.seconds(run.seconds),
        "written": ", ".join(run.written),
    }
    yield gfm.block("\n".join(f"{name}: {value}" for name, value in told.items() if value))
