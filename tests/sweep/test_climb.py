"""The climb finds the best load of an engine, and measures few of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_vllmperf.sweep.climb import next_load


def climbed(truth: Sequence[float | None]) -> dict[int, float | None]:
    rates: dict[int, float | None] = {}
    while (place := next_load(len(truth), rates)) is not None:
        assert place not in rates
        rates[place] = truth[place]
    return rates


@pytest.mark.parametrize("last", range(-1, 9))
def test_the_largest_load_that_keeps_the_promise_is_found_by_bisection(last: int) -> None:
    truth = [float(place + 1) if place <= last else None for place in range(9)]
    rates = climbed(truth)
    kept = [place for place, rate in rates.items() if rate is not None]
    assert max(kept, default=-1) == last
    assert len(rates) <= 5


@pytest.mark.parametrize("peak", range(9))
def test_goodput_that_falls_before_the_promise_breaks_is_followed_down(peak: int) -> None:
    truth = [float(10 - abs(place - peak)) for place in range(9)]
    rates = climbed(truth)
    assert max(rates, key=lambda place: rates[place] or 0.0) == peak


def test_one_load_is_measured_once() -> None:
    assert climbed([5.0]) == {0: 5.0}
    assert climbed([None]) == {0: None}


def test_a_promise_that_is_kept_by_luck_ends_the_climb_too() -> None:
    assert climbed([1.0, None, 3.0, None, 4.0]) == {2: 3.0, 3: None, 1: None}
