"""Points of a sweep or a search as words, and a table with one row for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from tabulate import tabulate

from pytest_vllmperf.report.escaping import terminal_line

_INDENT: Final = "  "
_LEAST_POINT: Final = 20
"""Columns that the column of settings has at least."""


def table(
    points: Sequence[Mapping[str, Any]], heads: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[str]:
    """A row for each point: a column for each axis, or one for all where these do not fit.

    Where an axis with its value is wider than that one column, the settings stand above their figures.

    Args:
        points: the value of each axis; all have the same axes.
        heads: of the other columns; the last one has words, the others have figures.
        rows: the other cells of each point.
        width: columns of a line.
    """
    axes = list(points[0]) if points else []
    shown_axes = [[shown(point[axis]) for axis in axes] for point in points]
    wide = _drawn([*axes, *heads], [[*own, *row] for own, row in zip(shown_axes, rows, strict=True)], len(axes))
    if max(map(len, wide), default=0) <= width:
        return wide
    others = max((len(line) for line in _drawn(heads, rows, 0)), default=0)
    room = max(_LEAST_POINT, width - others - 2)
    if any(len(f"{name}={shown(value)}") > room for point in points for name, value in point.items()):
        return _in_blocks(points, heads, rows, width)
    folded = ["\n".join(_folded(point, room)) for point in points]
    return _drawn(["point", *heads], [[point, *row] for point, row in zip(folded, rows, strict=True)], 1)


def settings(values: Mapping[str, Any]) -> str:
    """Axes with their values, in a line."""
    return " ".join(f"{name}={shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """A value of an axis."""
    return terminal_line(value if isinstance(value, str) else json.dumps(value))


def _in_blocks(
    points: Sequence[Mapping[str, Any]], heads: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[str]:
    """The settings of each point in lines of their own, with its figures indented below."""
    head, *figures = _drawn(heads, rows, 0)
    lines = ["point", f"{_INDENT}{head}"]
    for point, line in zip(points, figures, strict=True):
        lines += [*_folded(point, width), f"{_INDENT}{line}"]
    return lines


def _folded(values: Mapping[str, Any], room: int) -> list[str]:
    """Axes with their values in lines; one that is too long for a line is broken behind its name."""
    lines = [""]
    for name, value in values.items():
        text = f"{name}={shown(value)}"
        if len(lines[-1]) + 1 + len(text) <= room:
            lines[-1] = f"{lines[-1]} {text}".strip()
            continue
        parts = [text] if len(text) <= room else [f"{name}=", shown(value)]
        lines += [line for part in parts for line in wrap(part, room)]
    return [line for line in lines if line]


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]], axes: int) -> list[str]:
    """A table; heads are its first row, as tabulate makes columns wider than heads otherwise."""
    last = len(heads) - 1
    align = ["left" if place < axes or place == last else "right" for place in range(len(heads))]
    text = str(tabulate([heads, *rows], tablefmt="plain", colalign=align, disable_numparse=True))
    return [line.rstrip() for line in text.split("\n")]
