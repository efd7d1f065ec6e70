"""Scorecards on a page."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.report import ScorecardReport, ScorecardRow
from pytest_vllmperf.report import units
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.markup import Column, Content, Html, joined, paragraphs, table, tag
from pytest_vllmperf.report.scorecards import ENERGY, MEMORY, SPEED

_METRICS: Final = (*SPEED, *MEMORY, *ENERGY)


def scorecard(card: ScorecardReport) -> Html:
    """One card as a table.

    Args:
        card: with its rows.
    """
    columns = [
        Column("configuration"),
        Column("speedup [99 % CI]", "n"),
        *(Column(head, "n") for head, name in _METRICS if name in METRICS),
        Column("weights saved", "n"),
        Column("agreement", "n"),
        Column("cost/Mtok", "n"),
        Column(""),
    ]
    return tag(
        "section",
        tag("h2", f"Scorecard {card.name}"),
        tag("p", f"{card.profile}, compared with {card.baseline}", class_="muted"),
        table(columns, [_cells(card, row) for row in card.rows]),
        paragraphs(card.notes, "small"),
    )


def _cells(card: ScorecardReport, row: ScorecardRow) -> list[Content]:
    faster = row.speedup
    name = tag("strong", row.configuration) if row.configuration == card.baseline else row.configuration
    return [
        name,
        "baseline" if faster is None and row.configuration == card.baseline
        else "" if faster is None
        else f"{faster.ratio:.3g}x [{faster.low:.3g}, {faster.high:.3g}]",
        *(_value(metric, row) for _, metric in _METRICS if metric in METRICS),
        "" if row.saved is None else f"{round(row.saved, 2) + 0:.0%}",
        "" if row.agreement is None else f"{row.agreement:.0%}",
        "" if row.cost is None else units.count(row.cost),
        joined(*(wording.badge(f"void: {one.rule}", "bad") for one in row.problems)),
    ]  # fmt: skip


def _value(metric: str, row: ScorecardRow) -> str:
    value = row.values.get(metric)
    return "" if value is None else units.value(metric, value)
