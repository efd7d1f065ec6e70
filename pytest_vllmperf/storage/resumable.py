"""A results file that a command goes on with: one process writes it at a time, and what is in it is never lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage import atomic
from pytest_vllmperf.storage.locks import exclusive

ELSEWHERE: Final = "name another file with --results"
"""What to do where a results file cannot be used."""


@contextmanager
def only_writer(path: Path, what: str) -> Iterator[None]:
    """Hold a results file for one process, and remove what writes that were cut short left beside it.

    Args:
        path: the file.
        what: fills it, such as "sweep", for a person.

    Raises:
        BaselineError: where another process holds it, or its folder cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(path))
        except TimeoutError as error:
            hint = f" ({error})" if str(error) else ""
            raise BaselineError(f"{path}: another {what} writes into it{hint}; {ELSEWHERE}") from None
        except OSError as error:
            raise BaselineError(f"{path}: cannot be written: {error.strerror or error}") from None
        atomic.sweep(path.parent)
        yield


def write(path: Path, text: str, parts: str) -> None:
    """Replace a results file whole.

    Args:
        path: the file.
        text: all of it.
        parts: what it is made of, such as "points", for a person.

    Raises:
        BaselineError: when it cannot be written; it then holds what it held before.
    """
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise BaselineError(
            f"{path}: cannot be written: {error.strerror or error}; the {parts} in it are safe, and the same command "
            "goes on from there"
        ) from None
