"""Columns of text: aligned, and the widest layout that a terminal has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

GAP = "  "
"""Between two columns."""

Cells = Sequence[str]


def aligned(rows: Sequence[Cells], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns; a column that is empty in all rows takes no room.

    Args:
        rows: of as many cells each.
        right: the numbers of columns that are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    kept = [number for number, width in enumerate(widths) if width]
    return [
        GAP.join(
            row[number].rjust(widths[number]) if number in right else row[number].ljust(widths[number])
            for number in kept
        ).rstrip()
        for row in rows
    ]


def first_that_fits(layouts: Sequence[Callable[[], list[str]]], width: int) -> list[str]:
    """The lines of the first layout with no line wider than `width`; of the last one where none fits.

    Args:
        layouts: from the most telling to the narrowest; at least one.
        width: in characters.
    """
    lines: list[str] = []
    for layout in layouts:
        lines = layout()
        if all(len(line) <= width for line in lines):
            break
    return lines
