"""`Sheet`: a Markdown document of at most so many bytes. What does not fit is left out whole, counted and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.report import units

COMMENT: Final = 65_000
"""Bytes that fit into a comment on a pull request: GitHub takes 65,536 characters."""
STEP_SUMMARY: Final = 1024 * 1024
"""Bytes that GitHub takes as the summary of one step of a job; of more it shows nothing at all."""

_RESERVED: Final = 600
"""Bytes that are kept for the line that says what is left out."""


@dataclass(frozen=True)
class Part:
    """A piece of a document that is shown whole or not at all.

    Attributes:
        text: Markdown.
        what: what it is, in the singular, for the line that says what is left out.
    """

    text: str
    what: str


class Sheet:
    """A document on its way. What is added first is kept first.

    Args:
        most: bytes that the whole document may have.
    """

    def __init__(self, most: int) -> None:
        self._room = most - _RESERVED
        self._most = most
        self._blocks: list[str] = []
        self._left: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """Bytes that are left for what is added next."""
        return self._room

    def add(self, part: Part) -> None:
        """Add one block."""
        self.group("", [part], "")

    def group(self, opening: str, parts: Sequence[Part], closing: str, *, joint: str = "\n\n") -> None:
        """Add blocks between an opening and a closing, such as the rows of a table; as many as fit, the first ones.

        Args:
            opening: what stands before the first; where none fits, nothing is added.
            parts: the blocks.
            closing: what stands after the last.
            joint: what stands between two.
        """
        if not parts:
            return
        frame = _size(opening) + _size(closing) + 2 * len(joint) + len("\n\n")
        fitting = 0
        used = frame
        for part in parts:
            used += _size(part.text) + len(joint)
            if used > self._room:
                break
            fitting += 1
        self._left.update(part.what for part in parts[fitting:])
        if fitting:
            texts = [part.text for part in parts[:fitting]]
            self._blocks.append(joint.join(filter(None, [opening, *texts, closing])))
            self._room -= _size(self._blocks[-1]) + len("\n\n")

    def text(self) -> str:
        """The document; it ends in a newline."""
        blocks = list(self._blocks)
        if self._left:
            told = ", ".join(units.many(number, what) for what, number in self._left.items())
            words = f"**Left out, because this report may have at most {units.count(self._most)} bytes: {told}.**"
            blocks.insert(1, f"{words} The terminal and the file of --vllmperf-json have all of it.")
        return "\n\n".join(blocks) + "\n"


def shortened(text: str, most: int) -> str:
    """A text of several lines in at most about so many bytes, without its middle; a line says how much is left out."""
    if _size(text) <= most:
        return text
    lines = text.split("\n")
    kept = [_ends(line, most // 2) for line in lines]
    before, used = 0, 0
    while before < len(kept) and used + _size(kept[before]) + 1 <= most * 3 // 4:  # what got worse stands first
        used += _size(kept[before]) + 1
        before += 1
    after = len(kept)
    while after > before and used + _size(kept[after - 1]) + 1 <= most:
        used += _size(kept[after - 1]) + 1
        after -= 1
    gap = [f"... {units.many(after - before, 'line')} left out ..."] if after > before else []
    return "\n".join([*kept[:before], *gap, *kept[after:]])


def _ends(line: str, most: int) -> str:
    """A long line without its middle."""
    if _size(line) <= most:
        return line
    each = max(1, most // 8)  # characters; one has up to four bytes
    return f"{line[:each]}...{line[-each:]}"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))
