"""Numbers of plots."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.metrics.units import BYTES, COUNT, HERTZ, SECONDS, SHARE, TOKENS_PER_SECOND, Unit
from pytest_vllmperf.report.pages.plots.scales import distribution, metric_scale, scale


@pytest.mark.parametrize(
    ("unit", "largest", "shown", "drawn"),
    [
        (SECONDS, 2.5, "s", 2.5),
        (SECONDS, 0.025, "ms", 25.0),
        (SECONDS, 2e-5, "us", 20.0),
        (BYTES, 3 * 2**30, "GiB", 3.0),
        (BYTES, 3 * 2**20, "MiB", 3.0),
        (HERTZ, 1.98e9, "MHz", 1980.0),
        (SHARE, 0.5, "%", 50.0),
        (TOKENS_PER_SECOND, 1934.567, "tok/s", 1934.6),
        (COUNT, 7.0, "", 7.0),
    ],
)
def test_a_unit_that_suits_the_largest(unit: Unit, largest: float, shown: str, drawn: float) -> None:
    found = scale(unit, [largest / 10, None, largest])
    assert (found.unit, found.of(largest)) == (shown, drawn)


def test_what_json_lacks_is_not_drawn() -> None:
    assert scale(COUNT, [math.nan, 1.0]).all([math.nan, math.inf, None, 1.0]) == [None, None, None, 1.0]


def test_a_metric_of_a_newer_release_is_drawn_as_it_is() -> None:
    assert metric_scale("of_tomorrow", [0.1]).of(0.1) == 0.1


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300))
def test_a_distribution_ends_with_all_and_keeps_both_ends(values: list[float]) -> None:
    x, y = distribution(values)
    assert (x[0], x[-1], y[-1]) == (min(values), max(values), 1.0)
    assert x == sorted(x)
    assert y == sorted(y)
    assert len(x) == len(y) <= 80
