"""Results over time in a Markdown report: a short table of the changes, folded; what is not known is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pytest_vllmperf.records.trends import RunTrends, Shift, Trend, Trends
from pytest_vllmperf.report import trends as words
from pytest_vllmperf.report import units
from pytest_vllmperf.report.pages import gfm
from pytest_vllmperf.report.pages.bounded import Part, Sheet
from pytest_vllmperf.report.pages.trends import UNREADABLE, headline

_RIGHT: Final = (3,)
_TITLES: Final = ("run", "test", "metric", "change", "level", "what came with it")
_MOST: Final = 15
"""So many rows the table has at most, the newest."""


def add(sheet: Sheet, told: RunTrends) -> None:
    """Add what the history has of the checks of a run.

    Args:
        sheet: the document.
        told: the trends, or why nobody knows them.
    """
    if told.found is None:
        sheet.add(Part(f"**Trends: {UNREADABLE}.** {gfm.code(told.problem)}", "trends"))
        return
    rows, notes = list(_rows(told.found)), list(words.notes(told.found))
    if len(rows) > _MOST:
        notes.append(
            f"{units.many(len(rows) - _MOST, 'older row')} left out of this table; vllmperf history show lists all"
        )
    said = f"Trends: {headline(told, told.found)}"
    if not rows and not notes:
        sheet.add(Part(said, "trends"))
        return
    parts = [Part(row, "change over time") for row in rows[:_MOST]]
    closing = "\n".join(f"- {gfm.code(note)}" for note in notes)
    opening = f"<details>{gfm.summary(said)}\n"
    if parts:
        sheet.group(f"{opening}\n{gfm.head(_TITLES, _RIGHT)}", parts, f"\n{closing}\n\n</details>", joint="\n")
    else:
        sheet.group(opening, [Part(closing, "trends")], "\n</details>", joint="\n")


def _rows(found: Trends) -> Iterator[str]:
    """A row for each check that changed, the newest first, with its worst metric; and where values are not compared."""
    for event in words.events(found.trends):
        when, cause = gfm.figure(event.first_after.minute), gfm.cell(event.cause)
        checks: dict[str, list[tuple[Trend, Shift]]] = {}
        for trend, shift in event.shifts:
            checks.setdefault(trend.id.subject, []).append((trend, shift))
        for subject, shifts in checks.items():
            trend, shift = shifts[0]
            text = words.text_of(trend)
            levels = gfm.figure(units.joined(text(shift.before), text(shift.after)))
            change = f"{units.percent(shift.change) or 'new'} {'**WORSE**' if shift.worse else 'better'}"
            others = f" and {len(shifts) - 1} more" if len(shifts) > 1 else ""
            yield gfm.row([when, gfm.cell(subject), f"{gfm.figure(trend.metric.label)}{others}", change, levels, cause])
        for subject in event.not_compared:
            yield gfm.row([when, gfm.cell(subject), "", "**NOT COMPARED**", "", cause])
