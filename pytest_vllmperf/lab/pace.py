"""Which iteration a measurement is at, and how long it will take, for a person."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

_LAST: Final = 5
"""Iterations that the estimate rests on: the first ones are slower."""


class Stage(str):
    """Which iteration begins and what is left, in words that can be said again later.

    Attributes:
        where: which iteration it is.
        left: seconds until the measurement is over; None where that is not known.
    """

    __slots__ = ("left", "where")

    where: str
    left: float | None

    def __new__(cls, where: str, left: float | None = None) -> Stage:
        """A stage as it begins."""
        made = super().__new__(cls, _told(where, left))
        made.where, made.left = where, left
        return made

    def after(self, seconds: float) -> Stage:
        """The same stage so many seconds later; of one that takes longer than expected nothing is said of the end."""
        return Stage(self.where, None if self.left is None else self.left - seconds)


class Pace:
    """Told before each iteration of one measurement.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: deque[float] = deque(maxlen=_LAST + 1)

    def before(self, done: int, warm: int | None, iterations: int) -> Stage:
        """Which iteration begins, and what is left by the time of those before.

        Nothing is said of what is left before one is over, and where it is less than a second.

        Args:
            done: iterations that are over.
            warm: how many are discarded; None while that is not known.
            iterations: how many are counted.
        """
        self._begun.append(self._clock())
        where = _where(done, warm, iterations)
        if warm is None or len(self._begun) == 1:
            return Stage(where)
        left = (self._begun[-1] - self._begun[0]) / (len(self._begun) - 1) * (warm + iterations - done)
        return Stage(where, left)


def _told(where: str, left: float | None) -> str:
    return where if left is None or left < 1 else f"{where}, {_duration(left)} left"


def _where(done: int, warm: int | None, iterations: int) -> str:
    if warm is None:
        return f"warm-up {done + 1}"
    if done < warm:
        return f"warm-up {done + 1}/{warm}"
    return f"iteration {done + 1 - warm}/{iterations}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole / 60:.0f} min"
