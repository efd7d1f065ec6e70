"""Numbers for plots: in a unit that suits their size, with as many digits as anybody can see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.units import BYTES, HERTZ, NEAR_WHOLE, SECONDS, SHARE, Unit

_DIGITS: Final = 5
COARSE: Final = 3
"""Digits of numbers of which there are hundreds in one plot."""
_MOST_POINTS: Final = 80
"""Points of a line: no screen shows more of a distribution."""

_STEPS: Final = {
    SECONDS.symbol: ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "us")),
    BYTES.symbol: ((2.0**30, 2.0**-30, "GiB"), (2.0**20, 2.0**-20, "MiB"), (0.0, 2.0**-10, "KiB")),
    HERTZ.symbol: ((0.0, 1e-6, "MHz"),),
    SHARE.symbol: ((0.0, 100.0, "%"),),
    NEAR_WHOLE.symbol: ((0.0, 100.0, "%"),),
}


@dataclass(frozen=True)
class Scale:
    """How numbers of a unit are drawn.

    Attributes:
        factor: drawn number / stored number.
        unit: of drawn numbers; empty for counts.
        digits: of drawn numbers.
    """

    factor: float
    unit: str
    digits: int = _DIGITS

    def of(self, number: float | None) -> float | None:
        """A drawn number; None for what cannot be drawn."""
        if number is None or not math.isfinite(number):
            return None
        return float(f"{number * self.factor:.{self.digits}g}")

    def all(self, numbers: Iterable[float | None]) -> list[float | None]:
        """Drawn numbers."""
        return [self.of(one) for one in numbers]


def scale(unit: Unit | str, numbers: Iterable[float | None], digits: int = _DIGITS) -> Scale:
    """The scale in which the largest of these numbers has a few digits before its point.

    Args:
        unit: that they are stored in, or its symbol.
        numbers: all that are drawn.
        digits: of drawn numbers.
    """
    symbol = unit if isinstance(unit, str) else unit.symbol
    largest = max((abs(one) for one in numbers if one is not None and math.isfinite(one)), default=0.0)
    for least, factor, shown in _STEPS.get(symbol, ()):
        if largest >= least:
            return Scale(factor, shown, digits)
    return Scale(1.0, symbol, digits)


def metric_scale(metric: str, numbers: Iterable[float | None]) -> Scale:
    """The scale of a metric's numbers; of a metric that this release does not know as they are."""
    return scale(METRICS[metric].unit, numbers) if metric in METRICS else Scale(1.0, "")


def distribution(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """An empirical distribution: values, and the share of all that are no larger; of many an even choice.

    Args:
        values: at least one.
    """
    ordered = sorted(one for one in values if math.isfinite(one))
    count = len(ordered)
    steps = min(count, _MOST_POINTS)
    places = [round(at * (count - 1) / max(1, steps - 1)) for at in range(steps)]
    return [ordered[at] for at in places], [float(f"{(at + 1) / count:.4g}") for at in places]
