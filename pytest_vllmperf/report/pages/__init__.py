"""Reports of a whole run for people, out of the data of a run. Each form is a module, and a row of the table.

A form takes a run whose texts hold no secrets any more, and escapes them for what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_vllmperf.records.report import RunReport
    from pytest_vllmperf.records.sweep import Findings
    from pytest_vllmperf.records.trends import RunTrends

PAGE: Final = ".html"
"""Of a page."""
SUFFIXES: Final = (PAGE, ".md")
"""Of the files that a report can be written to."""
MARK: Final = "<!-- pytest-vllmperf report -->"
"""The first line of every report: a file that begins with it may be replaced."""


def render(
    report: RunReport | None, suffix: str, sweeps: Sequence[Findings] = (), trends: RunTrends | None = None
) -> str:
    """The report of a run.

    Args:
        report: the run; its texts are escaped, and otherwise shown as they are. None for a page of sweeps alone.
        suffix: one of `SUFFIXES`.
        sweeps: what sweeps came to, for a page.
        trends: what a history tells of the checks of the run; None where nobody asked.

    Raises:
        ReportError: where a page needs what is not installed.
    """
    from pytest_vllmperf.report.pages import markdown, page

    if suffix == PAGE or report is None:
        return f"{MARK}\n{page.page(report, sweeps, trends)}"
    return f"{MARK}\n{markdown.document(report, trends=trends)}"
