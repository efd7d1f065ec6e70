"""Reports of a whole run for people, out of the data of a run; pure. Each form is a module, and a row of the table.

A form takes a run whose texts hold no secrets any more, and escapes them for what it writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_vllmperf.records.report import RunReport

SUFFIXES: Final = (".html", ".md")
"""Of the files that a report can be written to."""
MARK: Final = "<!-- pytest-vllmperf report -->"
"""The first line of every report: a file that begins with it may be replaced."""


def render(report: RunReport, suffix: str) -> str:
    """The report of a run.

    Args:
        report: the run; its texts are escaped, and otherwise shown as they are.
        suffix: one of `SUFFIXES`.
    """
    from pytest_vllmperf.report.pages import markdown, page

    made = page.page(report) if suffix == ".html" else markdown.document(report)
    return f"{MARK}\n{made}"
