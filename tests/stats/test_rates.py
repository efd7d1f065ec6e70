"""The isotonic fit, where it crosses a share, its interval, and requests that pile up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.stats.rates import crossing, falling_fit, highest_rate, saturated

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=12)
SECOND = 10**9


def test_a_fit_that_falls_already_stays() -> None:
    assert falling_fit([1, 2, 3], [1.0, 0.8, 0.1]).tolist() == [1.0, 0.8, 0.1]


def test_rates_that_rise_are_pooled() -> None:
    assert falling_fit([1, 2, 3, 4], [1.0, 0.4, 0.6, 0.0]).tolist() == [1.0, 0.5, 0.5, 0.0]


@settings(max_examples=200)
@given(SHARES)
def test_the_fit_never_rises_keeps_the_mean_and_is_the_best_of_its_kind(shares: list[float]) -> None:
    rates = list(range(1, len(shares) + 1))
    fit = falling_fit(rates, shares)
    assert all(fit[:-1] >= fit[1:])
    assert fit.mean() == pytest.approx(np.mean(shares))
    distance = ((fit - shares) ** 2).sum()
    for level in (0.0, 0.3, 1.0):  # any other falling sequence is further away
        other = np.minimum.accumulate(np.full(len(shares), level) + 0.5 * np.sort(shares)[::-1])
        assert distance <= ((other - shares) ** 2).sum() + 1e-12


def test_the_crossing_is_linear_between_rates() -> None:
    assert crossing([10, 20], [1.0, 0.8], 0.95) == pytest.approx(12.5)


def test_a_share_that_is_never_missed_or_never_reached_gives_an_end() -> None:
    assert crossing([10, 20], [1.0, 1.0], 0.99) == 20
    assert crossing([10, 20], [0.5, 0.1], 0.99) == 10


def test_the_interval_holds_the_rate_and_narrows_with_replicates() -> None:
    draw = np.random.default_rng(3)
    rates = [10.0, 12.0, 14.0, 16.0, 18.0, 20.0]

    def replicates(count: int) -> list[list[float]]:
        return [[min(1.0, 1.5 - 0.03 * rate + float(draw.normal(0, 0.03))) for _ in range(count)] for rate in rates]

    few, many = (highest_rate(rates, replicates(count), 0.95) for count in (3, 60))
    for found in (few, many):
        assert found.low <= found.rate <= found.high
        assert found.bounded
        assert found.reached
    assert many.high - many.low < few.high - few.low
    assert many.low <= 55 / 3 <= many.high  # 1.5 - .03 r = .95


def test_it_says_whether_the_answer_lies_within_what_was_tried() -> None:
    assert not highest_rate([10, 20], [[1.0], [1.0]], 0.99).bounded
    assert not highest_rate([10, 20], [[0.5], [0.4]], 0.99).reached


def pile(rate: float, served: float, seconds: float = 20.0, start: float = 4.0) -> list[tuple[int, int]]:
    """Requests in flight when `rate` arrive and `served` end a second."""
    times = np.arange(0, seconds, 1 / rate)
    return [(int(time * SECOND), int(start + time * (rate - served))) for time in times]


def test_requests_that_pile_up_mean_saturation() -> None:
    assert saturated(pile(rate=10, served=5), rate=10)
    assert not saturated(pile(rate=10, served=9.9), rate=10)
    assert not saturated(pile(rate=10, served=12), rate=10)


def test_a_queue_that_fills_up_to_its_balance_is_not_saturated() -> None:
    # Each request takes 5 s: at first they only arrive.
    times = np.arange(0, 20, 0.1)
    balanced = [(int(time * SECOND), int(min(time, 5) * 10)) for time in times]
    assert not saturated(balanced, rate=10)


def test_a_rise_that_chance_explains_is_none() -> None:
    # From 100 to 112 within the second half: a Poisson queue of 100 varies by 10.
    assert not saturated(pile(rate=10, served=8.8, start=88), rate=10)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(1, 40))
def test_a_random_queue_in_balance_is_hardly_ever_called_saturated(seed: int, load: float) -> None:
    draw = np.random.default_rng(seed)
    flags = []
    for _ in range(20):
        arrivals = np.cumsum(draw.exponential(0.1, 200))
        ends = arrivals + draw.exponential(load / 10, 200)
        events = sorted([(time, 1) for time in arrivals] + [(time, -1) for time in ends])
        counts = np.cumsum([step for _, step in events])
        changes = [(int(time * SECOND), int(count)) for (time, _), count in zip(events, counts, strict=True)]
        flags.append(saturated([one for one in changes if one[0] <= arrivals[-1] * SECOND], rate=10))
    assert sum(flags) <= 4


def test_a_handful_of_changes_tells_nothing() -> None:
    assert not saturated(pile(rate=10, served=0)[:5], rate=10)
    assert not saturated([], rate=10)
