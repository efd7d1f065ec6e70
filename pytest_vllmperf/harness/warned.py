"""Warnings of pytest: counted in its summary, also of tests that are held back, and open to its filters."""

from __future__ import annotations

import warnings

import pytest
from _pytest.warnings import catch_warnings_for_item  # what pytest itself does around a test

from pytest_vllmperf.errors import VllmPerfWarning
from pytest_vllmperf.report.escaping import terminal_line


def warn(item: pytest.Item, category: type[VllmPerfWarning], text: str, line: tuple[str, int]) -> bool:
    """Emit a warning of a test; under xdist it travels to the controller as any other.

    Nothing is said with `-p no:warnings`.

    Args:
        item: the test.
        category: of the warning.
        text: in one line.
        line: the user's file and line.

    Returns:
        Whether a filter makes it an error, such as `-W error`; it is not counted as a warning then.
    """
    if not item.config.pluginmanager.has_plugin("warnings"):
        return False
    path, number = line
    try:
        with catch_warnings_for_item(config=item.config, ihook=item.ihook, when="runtest", item=item):
            warnings.warn_explicit(terminal_line(text), category, path, number)
    except category:
        return True
    return False
