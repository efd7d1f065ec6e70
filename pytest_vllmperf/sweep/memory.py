"""The search for the largest value that works, by bisection over a grid. Pure: what a try does is the caller's."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Outcome(Enum):
    """What a try of one value came to."""

    WORKS = "works"
    TOO_LITTLE = "too little"
    """It failed, and a larger value is needed; the same value would fail again."""
    TOO_MUCH = "too much"
    """It failed, and the same value would fail again."""
    FAILED = "failed"
    """It failed, perhaps by chance: it counts once it has failed twice in a row."""


Probe = Callable[[int], Outcome]
"""Tries the candidate with this index."""


def grid(low: int, high: int, step: int) -> tuple[int, ...]:
    """Both bounds, and all multiples of the step between them, smallest first.

    Args:
        low: the smallest candidate.
        high: the largest; not below `low`.
        step: between candidates, at least 1.
    """
    first = (low // step + 1) * step
    return tuple(sorted({low, *range(first, high, step), high}))


def largest(count: int, probe: Probe, *, lowest_works: bool = False, confirm: bool = True) -> int | None:
    """The index of the largest candidate that works; None where none does.

    Candidates that are too little come first, then those that work, then those that fail; each group may be empty. The
    largest is tried first, then the smallest, then what is in the middle of what is left. A candidate that failed once
    is tried again before it counts, so that the candidate above the result has failed twice. The result itself is tried
    once more at the end; where that fails twice, the search goes on below it.

    Args:
        count: of candidates, at least 1.
        probe: tries one.
        lowest_works: whether the smallest is known to work.
        confirm: whether the result is tried once more.
    """
    known: dict[int, Outcome] = {}

    def settled(index: int) -> Outcome:
        outcome = probe(index)
        known[index] = probe(index) if outcome is Outcome.FAILED else outcome
        return known[index]

    if lowest_works:
        known[0] = Outcome.WORKS
    low, high = _ends(count, settled, known)
    while low is not None:
        while high - low > 1:
            middle = (low + high) // 2
            if settled(middle) in (Outcome.WORKS, Outcome.TOO_LITTLE):
                low = middle
            else:
                high = middle
        if known[low] is not Outcome.WORKS:
            return None
        if not confirm or settled(low) is Outcome.WORKS:
            return low
        high = low
        low = max((one for one, outcome in known.items() if one < high and outcome is Outcome.WORKS), default=None)
    return None


def _ends(count: int, settled: Probe, known: dict[int, Outcome]) -> tuple[int | None, int]:
    """What is known not to be too much, and what is: indices; None and anything where nothing can work."""
    top = count - 1
    outcome = known[0] if top == 0 and known else settled(top)
    if outcome is Outcome.WORKS:
        return top, count
    if outcome is Outcome.TOO_LITTLE or top == 0:
        return None, top
    lowest = known.get(0) or settled(0)
    return (0 if lowest in (Outcome.WORKS, Outcome.TOO_LITTLE) else None), top
