"""Tables of the documentation: on GitHub a row with another number of cells than its head loses what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages


def broken(text: str) -> Iterator[str]:
    """The rows with another number of cells than the first row of their table. A bar ends a cell in code, too."""
    head = None
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if fenced or not line.startswith("|"):
            head = None
            continue
        bars = len(re.findall(r"(?<!\\)\|", line))
        head = head or bars
        if bars != head:
            yield line


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_have_the_cells_of_their_head(page: Path) -> None:
    assert list(broken(page.read_text(encoding="utf-8"))) == []


def test_a_bar_in_code_is_found_and_an_escaped_one_is_none() -> None:
    head = "| argument | meaning |\n| --- | --- |\n"
    assert list(broken(head + "| `--ci a|b` | whose |")) == ["| `--ci a|b` | whose |"]
    assert list(broken(head + r"| `--ci a\|b` | whose |")) == []
