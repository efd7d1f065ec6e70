"""What the command shows: texts and JSON on standard output, lines about its work on standard error."""

from __future__ import annotations

import sys

from pytest_vllmperf.report.escaping import json_text, terminal_text


def show(text: str, *, as_json: bool = False) -> None:
    """Print a text on standard output; `as_json` says that it is JSON, which is escaped in its own way."""
    print(json_text(text) if as_json else terminal_text(text))


def tell(line: str) -> None:
    """Print a line about the work on standard error, at once."""
    print(terminal_text(line), file=sys.stderr, flush=True)
