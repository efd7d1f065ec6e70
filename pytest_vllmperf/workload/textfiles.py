"""Reading text files of users: line by line, numbered; each fault in one line, with the name that the user wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload.entries import UnusableError, shown

_BOM = b"\xef\xbb\xbf"


def checked(path: object, what: str = "path") -> tuple[str, Path]:
    """A file's name as the user wrote it, and its path.

    Raises:
        WorkloadError: for what is no path, or leads to no regular file.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise WorkloadError(f"{what}={shown(path)} must be the path of a file")
    file = Path(path)
    name = printable(os.fspath(path))
    try:
        if file.is_dir():
            raise WorkloadError(f"{name} is a folder, not a file")
        if not file.exists():
            raise WorkloadError(
                f"{name}: no such file in {Path.cwd()}" if not file.is_absolute() else f"no file {name}"
            )
        if not file.is_file():
            raise WorkloadError(f"{name} is not a regular file")
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{name} cannot be opened: {words(error)}") from None
    return name, file


def printable(name: str) -> str:
    """A name as the user wrote it, where it fits one line of text; else quoted."""
    return name if name.isprintable() else repr(name)


def lines(name: str, file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1; the file is never in memory as a whole.

    Raises:
        WorkloadError: when it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                text = line.removeprefix(_BOM) if number == 1 else line
                if text.strip():
                    yield number, text.strip()
    except OSError as error:
        raise WorkloadError(f"{name} cannot be read: {words(error)}") from None


def first_line(name: str, file: Path) -> bytes:
    """The first line that is not blank; empty where there is none."""
    return next((text for _, text in lines(name, file)), b"")


def whole_json(name: str, file: Path) -> Any:
    """A file that is one JSON value.

    Raises:
        WorkloadError: when it cannot be read, is not UTF-8, or is no JSON; with the line.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WorkloadError(f"{name} cannot be read: {words(error)}") from None
    try:
        return parsed(content)
    except UnusableError as error:
        raise WorkloadError(f"{name}: {error}") from None


def parsed(content: bytes) -> Any:
    """JSON in UTF-8.

    Raises:
        UnusableError: for what is not JSON; with the line where there are several.
    """
    try:
        return json.loads(decoded(content.removeprefix(_BOM)), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.doc.count("\n") else ""
        raise UnusableError(f"not JSON: {error.msg} ({line}column {error.colno})") from None
    except RecursionError:
        raise UnusableError("not readable JSON: it is nested too deeply") from None
    except ValueError as error:
        raise UnusableError(f"not JSON: {error}") from None


def decoded(content: bytes) -> str:
    """Text in UTF-8.

    Raises:
        UnusableError: for other bytes; with the line where there are several.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = f" in line {before.count(10) + 1}" if content.count(10) else ""
        raise UnusableError(f"not UTF-8 text (byte 0x{content[error.start]:02x}{line})") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def words(error: Exception) -> str:
    """What the system says of an error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
