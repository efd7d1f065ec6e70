"""A run as Markdown, as a summary of a CI job or a comment on a pull request shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vllmperf.report.escaping import markdown

if TYPE_CHECKING:
    from pytest_vllmperf.records.report import RunReport


def document(report: RunReport) -> str:
    """The document.

    Args:
        report: the run.
    """
    rows = (
        f"| {markdown(test.nodeid)} | {markdown(check.name)} | {check.status.value} |" for test, check in report.checks
    )
    return "\n".join(["| Test | Check | Verdict |", "|---|---|---|", *rows, ""])
