"""Reports for people as files: each written whole or not at all, and nothing replaced that is not a report."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.storage import atomic


def write(path: Path, text: str, mark: str) -> None:
    """Write a report.

    Args:
        path: the file; its folder is made if need be.
        text: all of it; it begins with `mark`.
        mark: what every report begins with.

    Raises:
        ReportError: where there is a file that is not a report.
        OSError: when it cannot be written. The file is then what it was.
    """
    if not replaceable(path, mark):
        raise ReportError(f"{path}: not replaced, as it is not a report of pytest-vllmperf; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)


def replaceable(path: Path, mark: str) -> bool:
    """Whether a report may be written there: there is nothing, an empty file, or a report.

    Raises:
        OSError: when it cannot be read.
        ReportError: when it is not a regular file, such as a folder or a pipe.
    """
    if path.exists() and not path.is_file():
        raise ReportError(f"{path}: it is not a regular file")
    try:
        with path.open("rb") as file:
            found = file.read(len(mark))
    except FileNotFoundError:
        return True
    return found in (b"", mark.encode())


def append(path: Path, text: str) -> None:
    """Add to a file that others write to as well, such as the summary of a CI job; made if need be.

    Args:
        path: the file.
        text: what is added; unpaired surrogates, which UTF-8 does not have, are written as escapes.

    Raises:
        ReportError: when it is not a regular file, such as a folder or a pipe.
        OSError: when it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ReportError(f"{path}: it is not a regular file")
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def size(path: Path) -> int:
    """Bytes of a file; 0 where there is none.

    Raises:
        OSError: when it cannot be looked at.
    """
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def forget(path: Path, mark: str) -> None:
    """Remove the report of an earlier run, so that it is never taken for that of a run that was killed.

    Raises:
        OSError: when it cannot be read or removed.
        ReportError: when it is not a regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and replaceable(target, mark):
        target.unlink()
