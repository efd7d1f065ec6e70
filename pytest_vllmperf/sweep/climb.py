"""At which load an engine is measured next, on the way to its best goodput. Pure.

Goodput grows with the load until requests miss the promise. So the largest load that keeps it is found by bisection. In
case that goodput falls before, as where an engine is full, neighbours of the best load are measured until both are
worse.
"""

from __future__ import annotations

from collections.abc import Mapping


def next_load(loads: int, rates: Mapping[int, float | None]) -> int | None:
    """The place in the grid of loads that is measured next; None where the best load of the engine is found.

    Args:
        loads: how many there are, ascending.
        rates: goodput of each place that is measured; None where the promise was not kept, or the point failed.
    """
    kept = [place for place, rate in rates.items() if rate is not None]
    low = max(kept, default=-1)
    high = min((place for place, rate in rates.items() if rate is None and place > low), default=loads)
    if high - low > 1:
        return (low + high) // 2
    if not kept:
        return None
    best = max(kept, key=lambda place: rates[place] or 0.0)
    beside = (place for place in (best - 1, best + 1) if 0 <= place < loads and place not in rates)
    return next(beside, None)
