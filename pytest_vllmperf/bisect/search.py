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

    It is the middle, unless a place between the bounds was skipped: versions that cannot be measured often stand side
    by side. What lies between two skipped ones comes last. Any other place counts for what it is sure to exclude, its
    distance to the nearer bound, times the chance that it can be measured: d / (d + w) at the distance d from
    skipped ones that are w places wide.
    """
    good, bad = bounds(results, last)
    unknown = _open(results, good, bad)
    skipped = [place for place in range(good + 1, bad) if results.get(place) is Result.SKIPPED]
    if not skipped:
        return max(unknown, key=lambda place: min(place - good, bad - place), default=None)
    first, end = skipped[0], skipped[-1]

    def worth(place: int) -> tuple[bool, float]:
        outside = max(first - place, place - end)
        width = end - first + 1 if outside > 0 else 1
        away = outside if outside > 0 else min(abs(place - one) for one in skipped)
        return outside > 0, min(place - good, bad - place) * away / (away + width)

    return max(unknown, key=worth, default=None)


def steps_left(results: Mapping[int, Result], last: int) -> int:
    """So many more steps are expected, when no further version is skipped."""
    return math.ceil(math.log2(len(_open(results, *bounds(results, last))) + 1))


def _open(results: Mapping[int, Result], good: int, bad: int) -> list[int]:
    """The places between the bounds of which nothing is known."""
    return [place for place in range(good + 1, bad) if place not in results]
