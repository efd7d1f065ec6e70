"""Values and changes as a person reads them. How a unit is written is the unit's own: see `metrics.units`."""

from __future__ import annotations

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.units import count, plain_percent, seconds, size

__all__ = [
    "NOT_MEASURED",
    "count",
    "joined",
    "many",
    "margin",
    "pair",
    "percent",
    "percent_range",
    "plain_percent",
    "seconds",
    "size",
    "value",
]

NOT_MEASURED = "not measured"
_MOST = 100.0


def value(metric: str, number: float | None) -> str:
    """A metric's value with its unit; a missing one is "not measured", never zero."""
    return NOT_MEASURED if number is None else METRICS[metric].unit.text(number)


def pair(metric: str, before: float | None, now: float | None) -> str:
    """Two values of one metric, the unit once where it is the same: `4,812 -> 4,391 tok/s`."""
    first, second = value(metric, before), value(metric, now)
    return f"{first} -> {second}" if before is None or now is None else joined(first, second)


def joined(first: str, second: str) -> str:
    """Two values that are written out already, the unit once where it is the same."""
    unit = second.rpartition(" ")[2]
    if " " in first and first.endswith(f" {unit}"):
        first = first.removesuffix(f" {unit}")
    return f"{first} -> {second}"


def many(number: int, noun: str) -> str:
    """A count with its noun: `1 prompt`, `2 prompts`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def percent(ratio: float | None) -> str:
    """A relative change with its sign; empty where it has none."""
    return "" if ratio is None else f"{_per_cent(ratio)} %"


def percent_range(low: float, high: float) -> str:
    """Two relative changes, such as an interval, in per cent: `[-3.0, +16.1]`."""
    return f"[{_per_cent(low)}, {_per_cent(high)}]"


def _per_cent(ratio: float) -> str:
    """Beyond a hundredfold the number says nothing but that; nothing is never "-0.0"."""
    return f"{round(ratio * 100, 1) + 0.0:+.1f}" if ratio <= _MOST else f">+{_MOST * 100:,.0f}"


def margin(fraction: float) -> str:
    """A fraction that somebody chose, as it was chosen."""
    return f"{fraction * 100:.4g} %"
