"""Scorecards as text: tables for the terminal's 80 columns, one in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tabulate import tabulate

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.scorecard import Scorecard
from pytest_vllmperf.report import escaping, units
from pytest_vllmperf.report.names import distinct, shorten
from pytest_vllmperf.report.verdicts import folded


class Row(Protocol):
    """What is shown of a row as it was measured; see `records.scorecard.Row`."""

    @property
    def configuration(self) -> str:
        """Its name."""

    def value(self, metric: str) -> float | None:
        """In the unit of the table of metrics."""


class Line(Protocol):
    """What is shown of a row beside the baseline's; see `records.scorecard.Line`."""

    @property
    def row(self) -> Row:
        """What was measured."""

    @property
    def speedup(self) -> Ratio | None:
        """In output throughput."""

    @property
    def saved(self) -> float | None:
        """Share of the baseline's weight bytes."""

    @property
    def agreement(self) -> float | None:
        """Share of the baseline's greedy tokens."""

    @property
    def cost(self) -> float | None:
        """Of a million output tokens."""


class Card(Protocol):
    """What is shown of a scorecard; see `records.scorecard.Scorecard`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def baseline(self) -> str:
        """The configuration that the others are compared with."""

    @property
    def lines(self) -> Sequence[Line]:
        """In the order in which they were measured."""

    @property
    def notes(self) -> Sequence[str]:
        """What has to be said about them."""


Column = tuple[str, Callable[[Line], str]]
"""A head, and what stands below it."""

_NONE = "-"
_NAME_WIDTH = 17

SPEED = (
    ("req/s", "request_throughput"),
    ("tok/s", "output_throughput"),
    ("TTFT p50", "ttft.p50"),
    ("TPOT p50", "tpot.p50"),
)
MEMORY = (
    ("weights", "weight_bytes"),
    ("KV tokens", "kv_cache_tokens"),
    ("device", "device_memory_used"),
    ("load", "load_time"),
)
ENERGY = (
    ("power", "gpu_power"),
    ("J/tok", "joules_per_token"),
    ("tok/J", "tokens_per_joule"),
    ("bandwidth", "model_bandwidth_utilization"),
)


def terminal(card: Scorecard) -> list[str]:
    """The card in tables of one subject each, what has to be said about it, and the speedups."""
    speed = _table(card, [*_metrics(SPEED), ("speedup", _speedup), ("agrees", _agreement)])
    memory = _table(card, [*_metrics(MEMORY), ("saved", _saved)])
    energy = _table(card, [*_metrics(ENERGY), ("cost/Mtok", _cost)])
    lines: list[str] = []
    for table in (speed, memory, energy):
        lines += [""] * bool(lines and table) + table
    return [*lines, *_remarks(card)]


def markdown(card: Scorecard) -> str:
    """The card as one Markdown table, with the same words beneath; ends in a newline."""
    title = f"# {escaping.markdown(card.name)}: {escaping.markdown(card.profile)}"
    return "\n".join([title, "", *markdown_lines(card)]).rstrip() + "\n"


def markdown_lines(card: Card, shown: Callable[[str], str] = escaping.markdown) -> list[str]:
    """The same without its title.

    Args:
        card: the scorecard.
        shown: makes a name, or a line that holds names, Markdown for a cell of a table.
    """
    columns = [
        *_metrics(MEMORY),
        *_metrics(SPEED),
        ("speedup", _speedup_interval),
        ("weights saved", _saved),
        ("agreement", _agreement),
        *_metrics(ENERGY),
        ("cost/Mtok", _cost),
    ]
    remarks = [line for note in card.notes for line in ("", shown(note))]
    return [*_table(card, columns, shown), *remarks, "", *map(shown, _speedup_lines(card))]


def _table(card: Card, columns: Sequence[Column], markup: Callable[[str], str] | None = None) -> list[str]:
    """The columns in which any row has a value; no lines where there is none.

    Args:
        card: the scorecard.
        columns: that there may be.
        markup: makes a name Markdown; None for a table of the terminal.
    """
    cells = {head: [cell(line) for line in card.lines] for head, cell in columns}
    known = {head: column for head, column in cells.items() if any(one != _NONE for one in column)}
    if not known:
        return []
    names = [line.row.configuration for line in card.lines]
    short = distinct(names, _NAME_WIDTH)
    first = [markup(name) if markup else short[name] for name in names]
    heads = ["configuration" if markup else shorten(card.name, _NAME_WIDTH), *known]
    style = "github" if markup else "plain"
    rows = [list(row) for row in zip(first, *known.values(), strict=True)]
    align = ["left", *("right" for _ in known)]
    return tabulate(rows, heads, tablefmt=style, colalign=align, disable_numparse=True).splitlines()


def _metrics(columns: Sequence[tuple[str, str]]) -> list[Column]:
    return [(head, _cell(head, metric)) for head, metric in columns]


def _cell(head: str, metric: str) -> Callable[[Line], str]:
    """The metric's value; its unit is left out where the head of the column has it."""
    symbol = METRICS[metric].unit.symbol
    in_head = symbol in head.split()

    def cell(line: Line) -> str:
        value = line.row.value(metric)
        if value is None:
            return _NONE
        return units.value(metric, value).removesuffix(f" {symbol}" if in_head else "")

    return cell


def _cost(line: Line) -> str:
    """What a million output tokens cost, in the currency of the price."""
    return _NONE if line.cost is None else units.count(line.cost)


def _speedup(line: Line) -> str:
    return _NONE if line.speedup is None else f"{line.speedup.ratio:.3g}x"


def _speedup_interval(line: Line) -> str:
    found = line.speedup
    return _NONE if found is None else f"{found.ratio:.3g}x [{found.low:.3g}, {found.high:.3g}]"


def _saved(line: Line) -> str:
    return _NONE if line.saved is None else f"{round(line.saved, 2) + 0:.0%}"  # 0 %, not -0 %


def _agreement(line: Line) -> str:
    return _NONE if line.agreement is None else f"{line.agreement:.0%}"


def _remarks(card: Card) -> list[str]:
    return [part for note in (*card.notes, *_speedup_lines(card)) for part in folded(note)]


def _speedup_lines(card: Card) -> list[str]:
    """What each configuration does to output throughput, fastest first."""
    known = [(line.row.configuration, line.speedup) for line in card.lines if line.speedup is not None]
    ordered = sorted(known, key=lambda one: -one[1].ratio)
    told = [f"{name} {found.ratio:.3g}x [{found.low:.3g}, {found.high:.3g}]" for name, found in ordered]
    return [f"output throughput over {card.baseline} (99 % CI): {', '.join(told)}"] if told else []
