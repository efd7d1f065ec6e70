"""Results over time on a page: the changes, the newest first, and a chart for each series."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from pytest_vllmperf.records.trends import RunOfHistory, RunTrends, Shift, Trend, Trends
from pytest_vllmperf.report import trends as words
from pytest_vllmperf.report import units
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.charts import chart
from pytest_vllmperf.report.pages.markup import Column, Content, Html, joined, more, paragraphs, table, tag
from pytest_vllmperf.report.trends import Event

UNREADABLE: Final = "the history could not be read, so nothing is known of changes over time"
"""What a report says where that is so."""
_ANCHOR: Final = "trends"
_MOST_EVENTS: Final = 8
"""So many changes of a run's report stand open, the newest."""
_ALL_EVENTS: Final = 20
"""So many it has at most."""
_MOST_ROWS: Final = 10
"""So many metrics of one change stand open, the worst."""
_ALL_ROWS: Final = 30
"""So many a run's report has at most."""
MOST_VALUES: Final = 100
"""So many values of a series are drawn in a run's report at most, the newest."""
MOST_SIZE: Final = 80_000
"""Characters of all charts in a run's report: it shall stay below 3 MB."""
_COLUMNS: Final = (Column("", "w"), Column("test"), Column("metric", "w"), Column("change", "n"), Column("level", "n"))


def whole(found: Trends) -> Html:
    """All of a history: what a page of its own has below its title.

    Args:
        found: what is shown.
    """
    runs = _numbered(found.trends)
    figures = [(trend, chart(trend, runs)) for trend in found.trends]
    happened = list(map(_event, words.events(found.trends)))
    return _section(
        runs,
        tag("p", tag("strong", words.headline(found))),
        paragraphs(words.notes(found), "note small"),
        *([tag("h2", "Changes, the newest first"), *happened] if happened else []),
        *([tag("h2", "Series"), _filter(), *_by_check(figures)] if figures else []),
    )


def of_run(told: RunTrends) -> Html:
    """The section of a run's report: its checks over time.

    Args:
        told: what the history has of them, or why nobody knows.
    """
    head = tag("h2", "Trends", id=_ANCHOR)
    found = told.found
    if found is None:
        said = tag("strong", f"{UNREADABLE[:1].upper()}{UNREADABLE[1:]}.")
        return joined(head, tag("div", said, tag("p", told.problem, class_="small"), class_="alert", role="status"))
    source = (
        f"The checks of this run over time; its own values are among them. History: {told.source}, which is only read."
    )
    runs = _numbered(found.trends, MOST_VALUES)
    figures, left_out = _fitting(found.trends, runs)
    return _section(
        runs,
        head,
        tag("p", tag("strong", headline(told, found))),
        paragraphs(words.notes(found), "note small"),
        *_events(words.events(found.trends)),
        *([more(f"Charts ({len(figures)})", _filter(), *_by_check(figures))] if figures else []),
        *([tag("p", left_out, class_="note")] if left_out else []),
        tag("p", source, class_="small muted"),
    )


def link(told: RunTrends) -> Html:
    """A line that leads to the section of a run's report.

    Args:
        told: what the section shows.
    """
    said = UNREADABLE if told.found is None else headline(told, told.found)
    return tag("p", tag("a", f"Trends: {said}", href=f"#{_ANCHOR}"))


def headline(told: RunTrends, found: Trends) -> str:
    """What the history says of a run, in a line. Without earlier values it says that, and nothing of changes.

    Args:
        told: what the history has.
        found: its trends.
    """
    if not told.earlier:
        return "the history has no earlier value of the checks of this run, so no change can be found"
    return words.headline(found)


def _numbered(trends: Sequence[Trend], most: int = 0) -> dict[RunOfHistory, int]:
    """The runs of the newest values of trends, or of all, each with its place in the page's list."""
    runs: dict[RunOfHistory, int] = {}
    for trend in trends:
        for run in trend.runs[-most:]:  # all of them for 0
            runs.setdefault(run, len(runs))
    return runs


def _section(runs: Mapping[RunOfHistory, int], *parts: Content) -> Html:
    """Parts, with the list of runs that the page's script shows one of."""
    labels = json.dumps([f"{run.minute}, commit {run.shown_commit}" for run in runs])
    return tag("section", *parts, class_="trends", data_runs=labels)


def _filter() -> Html:
    search = tag("input", type="search", class_="search", placeholder="filter by test or metric", aria_label="filter")
    return tag("div", search, class_="tools")


def _events(happened: Sequence[Event]) -> Iterator[Html]:
    """Changes in a run's report: the newest open, older ones folded."""
    made = [_event(event, _ALL_ROWS) for event in happened[:_ALL_EVENTS]]
    yield from made[:_MOST_EVENTS]
    if made[_MOST_EVENTS:]:
        yield more(f"Older changes ({len(made) - _MOST_EVENTS})", *made[_MOST_EVENTS:])
    if len(happened) > _ALL_EVENTS:
        oldest = len(happened) - _ALL_EVENTS
        yield tag("p", f"Left out: the {oldest:,} oldest. vllmperf history show lists all.", class_="note")


def _event(event: Event, most: int | None = None) -> Html:
    """All that changed between two runs; at most so many metrics of it."""
    rows = [_row(trend, shift) for trend, shift in event.shifts[:most]]
    profile = tag("span", event.profile, class_="muted small")
    apart = f"Not compared with the runs before: {', '.join(event.not_compared)}"
    folded, gone = rows[_MOST_ROWS:], len(event.shifts) - len(rows)
    return tag(
        "div",
        tag("h3", f"{event.first_after.minute} ", profile),
        tag("p", event.cause),
        *([tag("p", wording.badge("NOT COMPARED", "warn"), f" {apart}")] if event.not_compared else []),
        *([table(_COLUMNS, rows[:_MOST_ROWS])] if rows else []),
        *([more(f"{units.many(len(folded), 'more metric')}", table(_COLUMNS, folded))] if folded else []),
        *([tag("p", f"Left out: {gone:,} more. vllmperf history show lists all.", class_="note")] if gone else []),
        class_="event",
    )


def _row(trend: Trend, shift: Shift) -> list[Content]:
    text = words.text_of(trend)
    mark = wording.badge("WORSE", "bad") if shift.worse else wording.badge("BETTER", "info")
    change = units.percent(shift.change) or "new"
    return [mark, trend.id.subject, trend.metric.label, change, units.joined(text(shift.before), text(shift.after))]


def _by_check(figures: Sequence[tuple[Trend, Html]]) -> Iterator[Html]:
    """A heading for each check, and the charts of its series."""
    for (subject, profile), group in groupby(figures, lambda one: (one[0].id.subject, one[0].id.profile)):
        heading = tag("h3", f"{subject} ", tag("span", profile, class_="muted small"))
        yield tag("article", heading, tag("div", *(figure for _, figure in group), class_="plots"))


def _fitting(trends: Sequence[Trend], runs: Mapping[RunOfHistory, int]) -> tuple[list[tuple[Trend, Html]], str]:
    """As many charts as there is room for, those with the newest changes first, and what that leaves out.

    Returns:
        The charts in the order of the trends; a sentence, empty where all fit.
    """
    kept: dict[int, Html] = {}
    used = 0
    ranked = sorted(range(len(trends)), key=lambda at: _rank(trends[at]))
    for at in ranked:
        made = chart(trends[at], runs, MOST_VALUES)
        used += len(made)
        if used > MOST_SIZE:
            break
        kept[at] = made
    figures = [(trends[at], kept[at]) for at in sorted(kept)]
    gone = [trends[at] for at in ranked[len(kept) :]]
    if not gone:
        return figures, ""
    changed = sum(bool(one.shifts) for one in gone)
    which = f"{changed} of them with a change" if changed else "none of them with a change"
    return (
        figures,
        f"Left out, as there is no room: {units.many(len(gone), 'chart')}, {which}. vllmperf history plot shows all.",
    )


def _rank(trend: Trend) -> tuple[float, bool]:
    """What comes first where not all can be shown: the newest change, then what is gated."""
    newest = max((trend.times[one.at] for one in trend.shifts), default=-float("inf"))
    return -newest, not trend.metric.gated
