"""Which version is tried next. Pure: versions are places 0 .. last, the first is good and the last is bad.

The search assumes what every bisection assumes: all versions before the first bad one are good, all others are bad.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_vllmperf.records.bisect import Result


def bounds(results: Mapping[int, Result], last: int) -> tuple[int, int]:
    """The last good place before the first bad one, and that one.

    Args:
        results: what is known of places; the first one is good and the last one bad, whether they are in it or not.
        last: the last place; at least 1.
    """
    bad = min((place for place, one in results.items() if one is Result.BAD), default=last)
    good = max((place for place, one in results.items() if one is Result.GOOD and place < bad), default=0)
    return good, bad


def following(results: Mapping[int, Result], last: int) -> int | None:
    """The place to try next; None where all between the bounds are known or skipped.

    It is the middle. Where that was skipped, it is a neighbour; with each further skip it lies twice as far away, on
    alternating sides: versions that cannot be measured often stand side by side.
    """
    good, bad = bounds(results, last)
    unknown = _open(results, good, bad)
    if not unknown:
        return None
    skipped = bad - good - 1 - len(unknown)
    away = 2 ** ((skipped - 1) // 2) if skipped else 0
    target = (good + bad) // 2 + (away if skipped % 2 == 0 else -away)
    return min(unknown, key=lambda place: (abs(place - target), place))


def steps_left(results: Mapping[int, Result], last: int) -> int:
    """So many more steps are expected, when no further version is skipped."""
    return math.ceil(math.log2(len(_open(results, *bounds(results, last))) + 1))


def _open(results: Mapping[int, Result], good: int, bad: int) -> list[int]:
    """The places between the bounds of which nothing is known."""
    return [place for place in range(good + 1, bad) if place not in results]
