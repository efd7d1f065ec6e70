"""How wide the command writes."""

from __future__ import annotations

import shutil

from pytest_vllmperf.report.names import WIDTH


def columns() -> int:
    """Columns of the terminal, at least as many as all texts have."""
    return max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
