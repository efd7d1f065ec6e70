"""Hodges-Lehmann, absolute deviations, the modality guard."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_vllmperf.stats import FloatArray, hodges_lehmann, hodges_lehmann_variance, is_multimodal
from pytest_vllmperf.stats.robust import mad

finite = st.floats(-100, 100)


@given(hnp.arrays(np.float64, st.integers(1, 14), elements=finite))
def test_hodges_lehmann_is_the_median_of_all_pairwise_averages(row: FloatArray) -> None:
    averages = [(a + b) / 2 for a, b in combinations_with_replacement(row.tolist(), 2)]
    assert hodges_lehmann(row[np.newaxis])[0] == pytest.approx(np.median(averages), abs=1e-9)


def test_hodges_lehmann_keeps_the_leading_axes_and_handles_many_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 3000, 5))
    together = hodges_lehmann(rows)
    assert together.shape == (7, 3000)
    assert together[6, 2999] == hodges_lehmann(rows[6, 2999])
    assert together[0, 0] == hodges_lehmann(rows[0, 0])


def test_hodges_lehmann_resists_outliers_that_move_the_mean() -> None:
    row = np.array([1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 50.0, 60.0])
    assert hodges_lehmann(row) == pytest.approx(1.0, abs=0.03)


def test_hodges_lehmann_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        hodges_lehmann(np.empty((3, 0)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 10, 12, 13, 20])
def test_hodges_lehmann_variance_matches_simulation(count: int) -> None:
    draws = np.random.default_rng(count).normal(size=(60_000, count))
    assert hodges_lehmann_variance(count) == pytest.approx(np.var(hodges_lehmann(draws)), rel=0.03)


def test_mad_is_the_plain_median_of_distances() -> None:
    assert mad(np.array([[1.0, -2.0, 30.0], [0.0, 0.0, 5.0]])).tolist() == [2.0, 0.0]


def test_multimodal_needs_two_engines_and_fifteen_percent() -> None:
    quiet = np.linspace(-0.001, 0.001, 20)
    assert not is_multimodal(quiet[np.newaxis], 0.025)[0]
    for far, expected in ((1, False), (2, False), (3, True)):
        row = quiet.copy()
        row[:far] += 0.1
        assert is_multimodal(row[np.newaxis], 0.025)[0] == expected
    assert not is_multimodal(np.array([[0.0, 0.0, 0.0, 0.1]]), 0.025)[0], "a quarter, but a single engine"
    assert is_multimodal(np.array([[0.0, 0.0, 0.0, 0.1, 0.1]]), 0.025)[0]


def test_multimodal_ignores_what_lies_nearer_than_the_floor_or_four_mad() -> None:
    assert not is_multimodal(np.array([[0.0] * 7 + [0.024] * 3]), 0.025)[0]
    assert is_multimodal(np.array([[0.0] * 7 + [0.026] * 3]), 0.025)[0]
    wide = np.array([[-0.03, -0.02, -0.01, 0.0, 0.0, 0.01, 0.02, 0.03, 0.055, -0.055]])
    assert not is_multimodal(wide, 0.025)[0], "beyond the floor, within 4 MAD"
