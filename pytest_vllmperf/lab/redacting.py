"""What engines say when they fail, without secrets. Every use of an engine goes through it, as through `Slots`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_vllmperf.errors import EngineError, VllmPerfError
from pytest_vllmperf.records.redactor import Redactor


@contextmanager
def redacting(redactor: Redactor) -> Iterator[None]:
    """Take secrets out of the errors that are raised meanwhile: their messages, and the end of the engine's log."""
    try:
        yield
    except VllmPerfError as error:
        error.args = tuple(redactor.log(part) if isinstance(part, str) else part for part in error.args)
        if isinstance(error, EngineError):
            error.log_tail = redactor.log(error.log_tail)
        raise
