"""The highest rate that keeps a promise: an isotonic fit through shares that fall with the rate, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_vllmperf.stats.robust import FloatArray

CONFIDENCE = 0.95
_RESAMPLES = 400
_SATURATED = 0.1
"""Requests in flight that pile up, as a share of those that arrive: the server falls behind by that much."""
_SURE = 3.0
"""How far they have to rise, in standard deviations of a queue that is in balance (that of a Poisson variable)."""
_FEWEST_CHANGES = 8


@dataclass(frozen=True)
class HighestRate:
    """The highest rate at which a share is still reached.

    Attributes:
        rate: requests/s; the lowest rate that was tried where even that does not reach it.
        low: lower end of the interval, requests/s.
        high: upper end of the interval, requests/s.
        bounded: whether a rate was tried that does not reach the share: else the true highest rate is higher.
        reached: whether the lowest rate that was tried reaches it.
    """

    rate: float
    low: float
    high: float
    bounded: bool
    reached: bool


def falling_fit(rates: Sequence[float], shares: Sequence[float]) -> FloatArray:
    """The best non-increasing fit to shares by rate, in least squares: pool adjacent violators (Ayer et al., 1955).

    Args:
        rates: requests/s, ascending, shape (n,).
        shares: one for each rate, 0 .. 1.

    Returns:
        The fit, shape (n,).
    """
    blocks: list[list[float]] = []  # mean and weight of each block
    for share in shares[: len(rates)]:
        blocks.append([share, 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            last, weight = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + last * weight) / (before[1] + weight)
            before[1] += weight
    return np.repeat([mean for mean, _ in blocks], [int(weight) for _, weight in blocks])


def crossing(rates: Sequence[float], shares: Sequence[float], wanted: float) -> float:
    """Where the fit falls below the wanted share, requests/s, linear between rates; an end where it never does.

    Args:
        rates: requests/s, ascending, shape (n,), n at least 1.
        shares: one for each rate.
        wanted: the share.
    """
    fit = falling_fit(rates, shares)
    below = np.nonzero(fit < wanted)[0]
    if not below.size:
        return float(rates[-1])
    first = int(below[0])
    if first == 0:
        return float(rates[0])
    high, low = float(fit[first - 1]), float(fit[first])
    part = (high - wanted) / (high - low)
    return float(rates[first - 1] + part * (rates[first] - rates[first - 1]))


def highest_rate(rates: Sequence[float], replicates: Sequence[Sequence[float]], wanted: float) -> HighestRate:
    """The highest rate that reaches a share, and a bootstrap interval over replicates (seeded).

    Args:
        rates: requests/s, ascending, shape (n,).
        replicates: for each rate the shares of its replicates; at least one each.
        wanted: the share.
    """
    draw = np.random.default_rng(len(rates))
    means = [float(np.mean(shares)) for shares in replicates]
    found = []
    for _ in range(_RESAMPLES):
        resampled = [float(np.mean(draw.choice(shares, size=len(shares)))) for shares in replicates]
        found.append(crossing(rates, resampled, wanted))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    fit = falling_fit(rates, means)
    return HighestRate(
        rate=crossing(rates, means, wanted),
        low=float(low),
        high=float(high),
        bounded=bool(fit[-1] < wanted),
        reached=bool(fit[0] >= wanted),
    )


def saturated(in_flight: Sequence[tuple[int, int]], rate: float) -> bool:
    """Whether requests pile up while they arrive: the slope of requests in flight, by least squares.

    Only the second half counts: before that a queue fills up to its balance, however light the load is.

    Args:
        in_flight: (nanoseconds, requests in flight) at each change, while requests arrive.
        rate: of arrivals, requests/s.
    """
    if rate <= 0 or not in_flight:
        return False
    middle = (in_flight[0][0] + in_flight[-1][0]) / 2
    in_flight = [(time, count) for time, count in in_flight if time >= middle]
    if len(in_flight) < _FEWEST_CHANGES:
        return False
    times = np.array([time for time, _ in in_flight], dtype=float) * 1e-9
    counts = np.array([count for _, count in in_flight], dtype=float)
    times -= times.mean()
    spread = float((times**2).sum())
    slope = float((times * counts).sum()) / spread if spread > 0 else 0.0
    rise = slope * float(times[-1] - times[0])
    return slope > _SATURATED * rate and rise > _SURE * float(np.sqrt(max(counts.mean(), 1.0)))
