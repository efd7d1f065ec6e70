"""Sums of values some of which may be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def sum_of_all(values: Sequence[Number | None]) -> Number | None:
    """The sum; None where one of them is unknown."""
    return None if None in values else sum(value for value in values if value is not None)
