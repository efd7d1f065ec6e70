"""Texts of others in GitHub flavoured Markdown, and its blocks; pure.

A name may hold markup, links, mentions such as `@everyone`, references such as `#12`, and HTML. All of it stands in
code spans, fenced blocks and `<code>`: there no renderer of GitHub, GitLab or Buildkite looks for any of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from pytest_vllmperf.report.escaping import terminal_line, terminal_text
from pytest_vllmperf.report.names import shorten

LONGEST: Final = 300
"""Characters of a text in a code span; the middle of a longer one is left out."""

_TICKS: Final = re.compile("`+")
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .,:%+/>\[\]-]*")
_MEANS_SOMETHING: Final = re.compile(r"://|www\.|\]:", re.IGNORECASE)
_PIPE_AFTER_BACKSLASH: Final = re.compile(r"(?<=\\)\|")


def code(text: str, longest: int = LONGEST) -> str:
    r"""A text on one line, as code. Nothing in it means anything; empty where it is empty.

    Args:
        text: anything; control characters are shown as `\x1b` is.
        longest: characters that are shown of it.
    """
    return _span(_one_line(text, longest))


def cell(text: str, longest: int = LONGEST) -> str:
    r"""The same in a cell of a table, where a bar ends the cell unless there is a backslash before it.

    A bar behind a backslash cannot be written there; it is shown as `\x7c`.
    """
    line = _PIPE_AFTER_BACKSLASH.sub(r"\\x7c", _one_line(text, longest))
    return _span(line).replace("|", r"\|")


def figure(text: str) -> str:
    """A label or a value in a cell of a table: as it is where no sign in it means anything, else as `cell` has it.

    Labels and units of metrics that a test records are texts of others.
    """
    return text if _PLAIN.fullmatch(text) and not _MEANS_SOMETHING.search(text) else cell(text)


def _one_line(text: str, longest: int) -> str:
    return shorten(terminal_line(text).replace("\t", r"\t"), longest)


def _span(line: str) -> str:
    """A code span: its ticks are more than any in the text, and its blanks are what a renderer takes away."""
    if not line:
        return ""
    ticks = "`" * (_longest(line) + 1)
    apart = line.startswith("`") or line.endswith("`") or (line.startswith(" ") and line.endswith(" "))
    blank = " " if apart and line.strip(" ") else ""
    return f"{ticks}{blank}{line}{blank}{ticks}"


def _longest(text: str) -> int:
    return max((len(ticks) for ticks in _TICKS.findall(text)), default=0)


def block(text: str) -> str:
    """Several lines as they are, in a fenced block."""
    shown = terminal_text(text.strip("\n"))
    fence = "`" * max(3, _longest(shown) + 1)
    return f"{fence}text\n{shown}\n{fence}"


def summary(words: str, *names: str) -> str:
    """What is seen of a folded part: words of ours, then names of others as code."""
    shown = [f"<code>{escape(_one_line(name, LONGEST))}</code>" for name in names]
    return f"<summary>{' '.join([escape(words), *shown])}</summary>"


def head(titles: Sequence[str], right: Sequence[int] = ()) -> str:
    """The first two lines of a table.

    Args:
        titles: of its columns, in words of ours.
        right: columns of figures, by number.
    """
    rules = ["---:" if number in right else "---" for number in range(len(titles))]
    return f"{row(titles)}\n{row(rules)}"


def row(cells: Iterable[str]) -> str:
    """One line of a table; each cell is Markdown already."""
    return f"| {' | '.join(cells)} |"
