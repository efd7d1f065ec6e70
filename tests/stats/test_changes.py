"""Where the level of a series changed: against Apache Otava's own answers, and by what has to hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.stats.changes import change_points

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "otava.json").read_text(encoding="utf-8"))
SERIES = {one["name"]: one for one in RECORDED["series"]}
OTAVA_FORGETS_A_NEIGHBOUR = {"two steps", "there and back", "creep"}
"""Series in which a change keeps the figures of a level that is gone, see bench/change_points.py."""


def found(one: dict[str, Any]) -> list[list[float]]:
    points = change_points(one["values"], window=one["window"], min_magnitude=one["min_magnitude"])
    return [[point.at, point.p_value, point.before, point.after] for point in points]


@pytest.mark.parametrize("name", SERIES)
def test_otava_with_all_tested_anew_finds_the_same(name: str) -> None:
    one = SERIES[name]
    assert found(one) == [pytest.approx(expected, rel=1e-6, abs=1e-9) for expected in one["anew"]]


@pytest.mark.parametrize("name", [name for name in SERIES if name not in OTAVA_FORGETS_A_NEIGHBOUR])
def test_otava_as_released_finds_the_same(name: str) -> None:
    one = SERIES[name]
    assert found(one) == [pytest.approx(expected, rel=1e-6, abs=1e-9) for expected in one["released"]]


def test_the_vectors_hold_changes_and_none() -> None:
    assert sum(bool(one["anew"]) for one in SERIES.values()) >= 9
    assert sum(not one["anew"] for one in SERIES.values()) >= 3
    differing = {name for name, one in SERIES.items() if len(one["anew"]) != len(one["released"])}
    assert differing <= OTAVA_FORGETS_A_NEIGHBOUR


def noisy(count: int, sd: float, seed: int = 1) -> Any:
    return np.exp(np.random.default_rng(seed).normal(0, sd, count))


def test_a_slow_decline_is_found_although_each_step_is_below_the_magnitude() -> None:
    values = 1000 * np.repeat(0.996 ** np.arange(10), 12) * noisy(120, 0.001)
    points = change_points(values, min_magnitude=0.01)
    assert points
    assert all(point.after < point.before for point in points)
    assert all(point.magnitude > 0.01 for point in points)


def test_one_more_value_far_away_is_a_change() -> None:
    values = [*(1000 * noisy(20, 0.002)), 900.0]
    assert [point.at for point in change_points(values)] == [20]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.0, 0.0, 0.0], [0.1] * 50, [17.0] * 200])
def test_nothing_to_find(values: list[float]) -> None:
    assert change_points(values) == []


def test_equal_values_whose_means_are_rounded_differently_are_no_change() -> None:
    # The mean of ten times 0.1 is not that of three times 0.1 to the last place.
    values = [0.1] * 13 + [0.7] * 11 + [0.1] * 29
    assert [point.at for point in change_points(values)] == [13, 24]


@pytest.mark.parametrize("seed", range(5))
def test_a_level_that_came_and_went_is_found(seed: int) -> None:
    # It lies within one side of every division of the window, so that their means hardly differ.
    values = np.r_[np.full(13, 100.0), np.full(11, 110.0), np.full(29, 100.0)] * noisy(53, 0.005, seed)
    assert {13, 24} <= {point.at for point in change_points(values, min_magnitude=0.01)}


def test_a_level_of_zero_has_no_relative_change() -> None:
    (point,) = change_points([0.0] * 10 + [3.0] * 10)
    assert (point.at, point.change, point.magnitude) == (10, None, 1.0)


def test_changes_come_back_when_the_magnitude_is_lowered() -> None:
    values = 100 * np.r_[noisy(40, 0.001), 1.006 * noisy(40, 0.001, 2)]
    assert change_points(values, min_magnitude=0.01) == []
    assert [point.at for point in change_points(values, min_magnitude=0.005)] == [40]


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.5, 2.0), min_size=1, max_size=4),
    st.integers(8, 40),
    st.floats(1e-6, 1e6),
    st.integers(0, 2**32 - 1),
)
def test_the_unit_does_not_matter(levels: list[float], length: int, factor: float, seed: int) -> None:
    values = np.repeat(levels, length) * noisy(len(levels) * length, 0.005, seed)
    plain = [point.at for point in change_points(values, min_magnitude=0.01)]
    assert [point.at for point in change_points(values * factor, min_magnitude=0.01)] == plain
    ends = [0, *plain, len(values)]
    assert ends == sorted(set(ends))
