"""A history as a page that needs no other file and no network; it looks as the report of a run does."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.records.trends import Trends
from pytest_vllmperf.report.pages import shell, trends
from pytest_vllmperf.report.pages.markup import tag

MARK: Final = "<!-- pytest-vllmperf history -->"
"""The first line of every page: a file that begins with it may be replaced."""


def page(found: Trends, title: str) -> str:
    """The page. It needs no library.

    Args:
        found: what is to be shown.
        title: of the page.
    """
    hint = tag("noscript", tag("p", "The value at a pointer, and the filter, need JavaScript.", class_="muted"))
    body = tag("main", tag("h1", title), trends.whole(found), hint)
    return f"{MARK}\n{shell.page(title, body, shell.Sheet(), '')}"
