"""HTML out of texts: every text is escaped, unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_vllmperf.report import escaping

_VOID = frozenset({"br", "input", "meta"})


class Html(str):
    """Markup, which is shown as it is. Only this module and constants make it."""

    __slots__ = ()


Content = str | Html | None


def escaped(content: Content) -> Html:
    """A text as markup; markup stays, None is nothing."""
    if content is None:
        return Html()
    return content if isinstance(content, Html) else Html(escaping.html(content))


def joined(*contents: Content) -> Html:
    """Several parts as one."""
    return Html("".join(map(escaped, contents)))


def tag(name: str, /, *contents: Content, **attributes: str | bool | None) -> Html:
    """An element.

    Args:
        name: of the element.
        contents: what stands in it.
        attributes: True has no value, None and False are left out; `_` stands for `-`, and one at the end is dropped:
            `class_`.
    """
    told = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            told.append(f" {attribute}")
        elif value is not None and value is not False:
            told.append(f' {attribute}="{escaping.html(value)}"')
    end = "" if name in _VOID else f"</{name}>"
    return Html(f"<{name}{''.join(told)}>{joined(*contents)}{end}")


def paragraphs(lines: Iterable[str], class_: str | None = None) -> Html:
    """A paragraph for each line."""
    return joined(*(tag("p", line, class_=class_) for line in lines))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: what it is called.
        kind: a class of its cells: `n` for figures, `w` for what stays on one line.
    """

    head: str
    kind: str | None = None


def table(columns: Sequence[Column], rows: Iterable[Sequence[Content]], caption: str = "") -> Html:
    """A table that scrolls sideways where it is too wide. Columns in which no row has anything are left out.

    Args:
        columns: from left to right.
        rows: a cell for each column.
        caption: what is to be known to read it.
    """
    known = [list(row) for row in rows]
    kept = [at for at in range(len(columns)) if any(row[at] for row in known)]
    head = joined(*(_cell("th", columns[at].head, columns[at].kind, ' scope="col"') for at in kept))
    body = joined(*(joined(Html("<tr>"), *(_cell("td", row[at], columns[at].kind) for at in kept)) for row in known))
    return scrolling(Html(f"<table>{tag('caption', caption) if caption else ''}<thead><tr>{head}<tbody>{body}</table>"))


def scrolling(content: Html) -> Html:
    """What may be wider than the page."""
    return tag("div", content, class_="scroll", tabindex="0")


def _cell(name: str, content: Content, kind: str | None, more: str = "") -> Html:
    """Without an end tag, which HTML does not want: cells are most of a page."""
    return Html(f"<{name}{more}{f' class={kind}' if kind else ''}>{escaped(content)}")


def facts(pairs: Iterable[tuple[str, Content]]) -> Html:
    """Names and what holds, those without a value left out."""
    found = [joined(tag("dt", name), tag("dd", value)) for name, value in pairs if value]
    return tag("dl", *found, class_="facts") if found else Html()


def more(summary: str, *contents: Content) -> Html:
    """What is shown when somebody asks for it."""
    return tag("details", tag("summary", summary), *contents, class_="more")
