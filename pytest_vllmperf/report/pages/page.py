"""A run as one page of HTML that needs no other file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_vllmperf.records.report import RunReport


def page(report: RunReport) -> str:
    """The page.

    Args:
        report: the run.
    """
    rows = "".join(
        f"<tr><td>{escape(test.nodeid)}</td><td>{escape(check.name)}</td><td>{check.status.value}</td></tr>"
        for test, check in report.checks
    )
    return f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>vllmperf</title><table>{rows}</table></html>\n"
