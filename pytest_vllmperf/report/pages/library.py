"""Plotly's JavaScript, out of its Python package, which is not imported: only the file is read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pytest_vllmperf.errors import ReportError

MISSING: Final = "a report as a page needs Plotly: pip install 'pytest-vllmperf[report]'"


def source() -> str:
    """The library.

    Raises:
        ReportError: where it is not installed, or its package has no such file.
    """
    file = _file()
    if file is None:
        raise ReportError(MISSING)
    return file.read_text(encoding="utf-8")


def installed() -> bool:
    """Whether the library is there."""
    return _file() is not None


def _file() -> Path | None:
    found = find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        file = Path(folder) / "package_data" / "plotly.min.js"
        if file.is_file():
            return file
    return None
