"""Whose engine failed: an error of the reference's is one of its own kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_vllmperf.errors import EngineError, ReferenceEngineError, VllmPerfError
from pytest_vllmperf.lab.target import Target


@contextmanager
def of_reference(target: Target) -> Iterator[None]:
    """Make errors that are raised meanwhile those of the reference, where this is its target.

    Raises:
        ReferenceEngineError: in their place.
    """
    try:
        yield
    except VllmPerfError as error:
        if not target.reference or isinstance(error, ReferenceEngineError):
            raise
        log_tail = error.log_tail if isinstance(error, EngineError) else ""
        raise ReferenceEngineError(str(error), log_tail) from None
