"""The code blocks and code spans of a Markdown file, and what was said about why one is not checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_CHECKED = re.compile(r"<!-- not checked: (.+?) -->")
"""Stands in the line above a block, or one blank line higher, and says why nothing checks the block."""

_FENCE = re.compile(r"^ *```(\S*).*$")
_INDENT = "    "


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes:
        page: its file, below the project's root.
        line: the number of its first line.
        language: what stands behind its fence; empty for one that is indented only.
        text: its lines, without the indent that makes it a block.
        reason: why nothing checks it; empty for a block that is checked.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str = ""

    @property
    def where(self) -> str:
        """For a message, and as the name of a test."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """All pages for users and developers."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [one for page in pages() for one in blocks(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))]


def blocks(text: str, page: str = "page.md") -> Iterator[Block]:
    """The blocks of a page, in their order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if fence := _FENCE.match(lines[at]):
            end = next((one for one in range(at + 1, len(lines)) if lines[one].strip() == "```"), len(lines))
            yield Block(page, at + 2, fence[1], "\n".join(lines[at + 1 : end]) + "\n", _reason(lines, at))
            at = end + 1
        elif lines[at].startswith(_INDENT) and not lines[at - 1].strip() and not _in_list(lines, at):
            end = _end_of_indented(lines, at)
            shown = "\n".join(line.removeprefix(_INDENT) for line in lines[at:end]).rstrip() + "\n"
            yield Block(page, at + 1, "", shown, _reason(lines, at))
            at = end
        else:
            at += 1


def _reason(lines: list[str], at: int) -> str:
    above = [line for line in lines[max(0, at - 2) : at] if line.strip()]
    found = NOT_CHECKED.fullmatch(above[-1].strip()) if above else None
    return found[1] if found else ""


def _in_list(lines: list[str], at: int) -> bool:
    """Whether an indented line goes on with an item of a list, after a blank line."""
    before = next((line for line in reversed(lines[:at]) if line.strip() and not line.startswith(" ")), "")
    return bool(re.match(r"(-|\*|\d+\.) ", before))


def _end_of_indented(lines: list[str], at: int) -> int:
    end = at
    for number in range(at, len(lines)):
        if lines[number].startswith(_INDENT):
            end = number + 1
        elif lines[number].strip():
            break
    return end


def spans(text: str) -> Iterator[str]:
    """The code spans of a page outside its blocks; a line that was wrapped inside a span is joined again."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for part in re.split(r"\n\s*\n", prose):
        if not part.startswith(_INDENT):
            yield from (" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", part))
