"""How an error of this package is shown: its own lines, and the user's line of code instead of a traceback."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import FrameType

import pytest
from _pytest._code.code import ReprEntry, ReprExceptionInfo, ReprFileLocation, ReprTraceback
from _pytest.pathlib import bestrelpath

import pytest_vllmperf
from pytest_vllmperf.errors import CheckFailed, VllmPerfError
from pytest_vllmperf.report.escaping import terminal_text

_NOT_THE_USERS = (Path(pytest_vllmperf.__file__).parent, Path(sysconfig.get_paths()["stdlib"]))
"""Folders whose code no user has written; Python's own runs `with` statements of ours."""


def shown(item: pytest.Item, error: VllmPerfError, excinfo: pytest.ExceptionInfo[BaseException]) -> ReprExceptionInfo:
    """What the report shows of an error.

    Args:
        item: the test.
        error: what was raised.
        excinfo: where.
    """
    path, line = user_line(item, error, excinfo)
    kind = "Failed" if isinstance(error, CheckFailed) else type(error).__name__
    text = terminal_text(str(error))
    place = ReprFileLocation(bestrelpath(Path.cwd(), Path(path)), line, kind)
    entry = ReprEntry(lines=text.splitlines(), reprfuncargs=None, reprlocals=None, reprfileloc=place, style="long")
    crash = ReprFileLocation(path, line, text)
    return ReprExceptionInfo(ReprTraceback([entry], extraline=None, style="long"), crash)


def user_line(item: pytest.Item, error: VllmPerfError, excinfo: pytest.ExceptionInfo[BaseException]) -> tuple[str, int]:
    """The user's own file and line, from 1: where a check was called, else the innermost one, else the test's."""
    if isinstance(error, CheckFailed) and error.line is not None:
        return error.line
    for entry in reversed(excinfo.traceback):
        path = Path(str(entry.path))
        if path.is_file() and _is_the_users(path):
            return str(path), entry.lineno + 1
    return item_line(item)


def _is_the_users(path: Path) -> bool:
    return path.parent.name not in ("_pytest", "pluggy") and not any(map(path.is_relative_to, _NOT_THE_USERS))


def item_line(item: pytest.Item) -> tuple[str, int]:
    """The file of a test and the line on which it begins, from 1."""
    path, line, _ = item.reportinfo()
    return str(path), (line or 0) + 1


def line_above(frame: FrameType | None) -> tuple[str, int]:
    """The file and line that called the function of this frame."""
    caller = frame.f_back if frame is not None else None
    return (caller.f_code.co_filename, caller.f_lineno) if caller is not None else ("", 0)
