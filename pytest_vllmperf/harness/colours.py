"""Verdicts in colour: in the summary, and in the failure of a test, where the terminal has colours."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from _pytest._code.code import ReprEntry, ReprExceptionInfo
from _pytest._io import TerminalWriter

from pytest_vllmperf.records.verdict import Status

_COLOURS: Final = {
    Status.OK: "green",
    Status.RECORDED: "green",
    Status.IMPROVED: "green",
    Status.NOISY: "yellow",
    Status.UNDECIDED: "yellow",
    Status.NO_BASELINE: "red",
    Status.NOT_COMPARABLE: "red",
    Status.INVALID: "red",
    Status.DRIFTED: "red",
    Status.REGRESSED: "red",
    Status.BEYOND_LIMIT: "red",
}
_WORD: Final = re.compile(rf"(?:(?<=  )|^)(?:{'|'.join(status.value for status in Status)})(?=\s|$)")
"""A verdict where reports have one: at the beginning of a line, or of a column."""


def coloured(line: str, writer: TerminalWriter) -> str:
    """A line with its verdicts in colour; as it is where the writer has no colours.

    Args:
        line: escaped already.
        writer: pytest's.
    """

    def markup(found: re.Match[str]) -> str:
        return writer.markup(found[0], bold=True, **{_COLOURS[Status(found[0])]: True})

    return _WORD.sub(markup, line)


class ColouredEntry(ReprEntry):
    """The lines of an error of ours; pytest would highlight them as if they were Python."""

    def _write_entry_lines(self, tw: TerminalWriter) -> None:
        for line in self.lines:
            tw.line(coloured(line, tw))


def colour(report: pytest.TestReport) -> None:
    """Show an error of ours in colour, in the process that reports; other reports stay as they are.

    Args:
        report: of a performance test.
    """
    longrepr = report.longrepr
    if isinstance(longrepr, ReprExceptionInfo):
        traceback = longrepr.reprtraceback
        traceback.reprentries = [_with_colours(entry) for entry in traceback.reprentries]


def _with_colours(entry: Any) -> Any:
    if not isinstance(entry, ReprEntry):
        return entry
    return ColouredEntry(entry.lines, entry.reprfuncargs, entry.reprlocals, entry.reprfileloc, entry.style)
