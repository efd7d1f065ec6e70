"""A page that needs no other file and no network: its style, its script, its plots, and what it is allowed to do."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from pytest_vllmperf.report.pages.markup import Html, escaped, joined, tag

_FIGURES: Final = "figures"
_LIBRARY: Final = "library"
_LEVEL: Final = 9
HEIGHT: Final = 190
"""Of a plot that says no other, in pixels; the style sheet has it, too."""


@dataclass(frozen=True)
class Figure:
    """A plot for Plotly. Colours are names of the page's theme: `@bad`, or `@bad/20` with 20 % opacity.

    Attributes:
        kind: what sort of plot it is, in a word.
        title: above it; escaped by whoever shows it.
        traces: for Plotly; texts in them went through `escaping.plot_label`.
        layout: what differs from the layout of all plots; the same of its texts.
        remark: beside the title.
        height: in pixels.
        wide: whether it takes a row of its own.
    """

    kind: str
    title: str
    traces: tuple[dict[str, Any], ...]
    layout: dict[str, Any] = field(default_factory=dict)
    remark: str | Html = ""
    height: int = HEIGHT
    wide: bool = False


class Sheet:
    """The plots of one page. They are kept together, as they are compressed together."""

    def __init__(self) -> None:
        self._figures: list[Figure] = []

    def put(self, *figures: Figure | None) -> Html:
        """The places of plots, side by side; nothing without any."""
        places = [self._place(one) for one in figures if one is not None]
        return tag("div", *places, class_="plots") if places else Html()

    def _place(self, figure: Figure) -> Html:
        self._figures.append(figure)
        caption = tag(
            "figcaption", figure.title, *([tag("span", figure.remark, class_="muted")] if figure.remark else [])
        )
        height = None if figure.height == HEIGHT else f"height:{figure.height}px"
        place = tag("div", class_="plot", data_figure=str(len(self._figures) - 1), style=height)
        return tag("figure", caption, place, class_="wide" if figure.wide else None)

    @property
    def empty(self) -> bool:
        """Whether there is no plot."""
        return not self._figures

    def text(self) -> str:
        """All plots as JSON, in the order of their numbers."""
        kept = [{"kind": one.kind, "traces": one.traces, "layout": one.layout} for one in self._figures]
        return json.dumps(kept, separators=(",", ":"), allow_nan=False)


def page(title: str, body: Html, sheet: Sheet, library: str) -> str:
    """The page.

    Args:
        title: of the window.
        body: what stands in it.
        sheet: its plots, all of which have their places in `body`.
        library: the source of Plotly; without plots it is left out.
    """
    script, style = _asset("page.js"), _asset("page.css")
    allowed = [script] if sheet.empty else [script, library]
    plots = [] if sheet.empty else [_packed(_FIGURES, sheet.text()), _packed(_LIBRARY, library)]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(allowed)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Html(f"<style>{style}</style>"),
    ]
    end = joined(*plots, Html(f"<script>{script}</script>"))
    return f'<!doctype html>\n<html lang="en"><head>{joined(*head)}</head>\n<body>{escaped(body)}{end}</body></html>\n'


def _policy(scripts: list[str]) -> str:
    """What the page may do: run exactly these scripts; nothing of it goes over a network."""
    hashes = " ".join(f"'sha256-{_hash(one)}'" for one in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(name: str, text: str) -> Html:
    """Data in gzip and base64, so that nothing in it can end the element."""
    packed = gzip.compress(text.encode(), _LEVEL, mtime=0)
    return Html(f'<script type="application/gzip" id="{name}">{base64.b64encode(packed).decode()}</script>')


def _asset(name: str) -> str:
    return (resources.files("pytest_vllmperf.report.pages") / "assets" / name).read_text(encoding="utf-8").strip()
