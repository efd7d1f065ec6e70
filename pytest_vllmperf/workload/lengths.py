"""Lengths in tokens: one number, a range, or a histogram; and the checks of whole numbers that workloads share."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from pytest_vllmperf.errors import WorkloadError

Length = int | tuple[int, int] | Mapping[int, float]
"""What a user gives: a number, an inclusive range, or a histogram `{length: weight}`."""

Lengths = int | tuple[int, int] | tuple[tuple[int, float], ...]
"""What a workload keeps: a number, an inclusive range, or (length, share) of a histogram, shares adding up to 1."""


def kept(name: str, length: object) -> Lengths:
    """A user's length, checked, in the form that a workload keeps.

    Args:
        name: of the parameter, for a message.
        length: what was given.

    Raises:
        WorkloadError: for a length below 1, a reversed range, or weights that are not valid.
    """
    if isinstance(length, Mapping):
        return _histogram(name, length)
    low: Any
    high: Any
    low, high = length if isinstance(length, (tuple, list)) and len(length) == 2 else (length, length)
    check_count(name, low)
    check_count(name, high)
    if low > high:
        raise WorkloadError(f"{name}={length!r} is reversed; write the smaller length first")
    return low if low == high else (low, high)


def _histogram(name: str, weights: Mapping[Any, Any]) -> Lengths:
    for length, weight in weights.items():
        check_count(f"a length of {name}", length)
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight < 0:
            raise WorkloadError(f"the weight {weight!r} of {name}={length} must be a number of at least 0")
    total = sum(weight for _, weight in sorted(weights.items()))  # the same sum in whatever order they were given
    if not total or not math.isfinite(total):
        raise WorkloadError(f"the weights of {name} add up to {total}; at least one must be above 0")
    shares = tuple(sorted((length, weight / total) for length, weight in weights.items() if weight))
    return shares[0][0] if len(shares) == 1 else shares


def bounds(lengths: Lengths) -> tuple[int, int]:
    """The shortest and the longest."""
    if isinstance(lengths, int):
        return lengths, lengths
    first, last = lengths[0], lengths[-1]
    return (first if isinstance(first, int) else first[0]), (last if isinstance(last, int) else last[0])


def draw_length(draw: random.Random, lengths: Lengths) -> int:
    """One length; nothing is drawn for a single number, so that stored workloads keep their tokens."""
    if isinstance(lengths, int):
        return lengths
    low, high = lengths[0], lengths[-1]
    if isinstance(low, int) and isinstance(high, int):
        return draw.randint(low, high)
    pairs: Any = lengths
    return int(draw.choices([length for length, _ in pairs], [share for _, share in pairs])[0])


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        WorkloadError: naming the parameter and the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WorkloadError(f"{name}={value!r} must be a whole number of at least 1")


def check_optional_count(name: str, value: object) -> None:
    """Refuse what is neither None nor a whole number of at least 1.

    Raises:
        WorkloadError: naming the parameter and the value.
    """
    if value is not None:
        check_count(name, value)
