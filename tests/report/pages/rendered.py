"""Markdown as GitHub renders it: by its own library, with its extensions; links that it finds by itself included."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options


@dataclass
class Rendered:
    """What a document came to.

    Attributes:
        tags: of all elements.
        comments: of the document.
        words: texts outside of code, where a renderer looks for mentions and references.
        code: the texts of code spans and blocks, in order.
        rows: the texts of the cells of each row of a table.
    """

    tags: set[str] = field(default_factory=set)
    comments: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Rendered()
        self._code = 0
        self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.tags.add(tag)
        if tag == "code":
            self._code += 1
            self.found.code.append("")
        elif tag == "tr":
            self.found.rows.append([])
        elif tag in ("td", "th"):
            self.found.rows[-1].append("")
            self._cell = True
        assert tag == "pre" or not [name for name, _ in attrs if name != "align"], (tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"
        self._cell = self._cell and tag not in ("td", "th")

    def handle_comment(self, data: str) -> None:
        self.found.comments.append(data.strip())

    def handle_data(self, data: str) -> None:
        if self._code:
            self.found.code[-1] += data
        else:
            self.found.words.append(data)
        if self._cell:
            self.found.rows[-1][-1] += data


def rendered(markdown: str) -> Rendered:
    """A document, read again."""
    html = cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.found
