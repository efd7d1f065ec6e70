"""How many iterations of an engine are warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WARMUP_AT_LEAST: Final = 2
WARMUP_AT_MOST: Final = 8
WARMUP_WINDOW: Final = 3
WARMUP_AGREEMENT: Final = 0.02


def warmup_length(iterations: Sequence[float], window: int = WARMUP_WINDOW) -> int | None:
    """How many leading iterations to discard, or None while that cannot be told yet.

    Two are always discarded. From there on, the first `window` in a row that agree within 2 % (largest over
    smallest) end the warm-up; they are kept. After eight discarded it ends whatever the values.

    Args:
        iterations: positive values of one engine in the order measured, so far; any unit.
        window: how many have to agree, at least one.
    """
    for discarded in range(WARMUP_AT_LEAST, WARMUP_AT_MOST):
        latest = iterations[discarded : discarded + window]
        if len(latest) < window:
            return None
        if max(latest) <= min(latest) * (1 + WARMUP_AGREEMENT):
            return discarded
    return WARMUP_AT_MOST
