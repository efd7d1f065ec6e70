"""The JSON values of a file: one, or several one after the other, as JSON lines and appended results are."""

from __future__ import annotations

import json
from typing import Any

from pytest_vllmperf.errors import ReportError


def documents(content: bytes) -> list[Any]:
    """Every JSON value of a file, at least one.

    `NaN` and `Infinity` are taken as numbers, which Python's own writers produce: most fields are never looked at.

    Raises:
        ReportError: for what is not UTF-8, not JSON, cut short, or empty.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportError(f"not JSON: byte {error.start} is not UTF-8") from None
    decoder = json.JSONDecoder()
    found: list[Any] = []
    at = _next(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ReportError(f"not JSON, or truncated: {error.msg} in line {error.lineno}") from None
        except (ValueError, RecursionError) as error:
            raise ReportError(f"cannot be read: {error}") from None
        found.append(value)
        at = _next(text, at)
    if not found:
        raise ReportError("the file is empty")
    return found


def _next(text: str, at: int) -> int:
    """Where the next value begins."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
