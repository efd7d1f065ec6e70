"""The race: intervals hold what they promise, and alike points are not measured for ever."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_vllmperf.sweep.race import MARGIN, Noise, interval, pooled, ratio, standing


def test_noise_is_pooled_over_points_and_knows_its_freedom() -> None:
    noise = pooled([[1.0, np.exp(0.2)], [5.0, 5.0 * np.exp(0.2)], [7.0], [0.0, 1.0]])
    assert noise.freedom == 2
    assert noise.sd == pytest.approx(0.2 / np.sqrt(2))


def test_without_replicates_nothing_is_told_apart() -> None:
    noise = pooled([[1.0], [9.0]])
    now = standing({"a": [1.0], "b": [9.0]}, noise, 1)
    assert now.best == "b"
    assert (now.alike, now.decided) == (["a"], False)


def test_a_clear_winner_is_decided_on_few_engines() -> None:
    values = {"a": [10.0, 10.1], "b": [8.0, 8.1], "c": [7.0, 7.05]}
    now = standing(values, pooled(list(values.values())), 8)
    assert (now.best, now.alike, now.decided) == ("a", [], True)


def test_points_that_are_alike_are_decided_within_the_margin() -> None:
    values = {"a": [10.0, 10.001, 10.002], "b": [9.999, 10.0, 10.001]}
    now = standing(values, pooled(list(values.values())), 1)
    assert now.alike == ["b"]
    assert now.rivals["b"].high < 1 + MARGIN
    assert now.decided


def test_noise_that_could_hide_a_better_point_leaves_it_open() -> None:
    values = {"a": [10.0, 12.0, 8.0], "b": [9.9, 12.0, 8.2]}
    assert not standing(values, pooled(list(values.values())), 1).decided


def test_the_error_is_divided_among_comparisons() -> None:
    noise = Noise(0.02, 6)
    one = standing({"a": [10.0, 10.0], "b": [9.5, 9.5]}, noise, 1).rivals["b"]
    many = standing({"a": [10.0, 10.0], "b": [9.5, 9.5]}, noise, 20).rivals["b"]
    assert many.low < one.low < one.ratio < one.high < many.high


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held, ratios = 0, 0
    for _ in range(1000):
        points = np.exp(rng.normal(0, 0.05, size=(4, 3)))
        noise = pooled(list(points))
        own = interval(points[0], noise)
        both = ratio(points[0], points[1], noise, 0.05)
        held += own.low <= 1 <= own.high
        ratios += both.low <= 1 <= both.high
    assert 0.93 <= held / 1000 <= 0.97
    assert 0.93 <= ratios / 1000 <= 0.97
