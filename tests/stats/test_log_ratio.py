"""The ratio of two samples and its interval, against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_vllmperf.stats.log_ratio import log_ratio

BEFORE = [1.0, 1.1, 0.9, 1.05]


def test_the_ratio_and_its_interval() -> None:
    value, low, high = log_ratio(BEFORE, [2 * one for one in BEFORE], 0.95)
    half = stats.t.ppf(0.975, 6) * np.sqrt(2 * np.log(BEFORE).var(ddof=1) / 4)
    assert (value, low, high) == pytest.approx((2.0, 2 * np.exp(-half), 2 * np.exp(half)))
    _, wider, _ = log_ratio(BEFORE, [2 * one for one in BEFORE], 0.95, 8)
    assert wider < low, "the intervals of eight points hold together"


def test_samples_without_noise_have_an_interval_without_width() -> None:
    assert log_ratio([2.0, 2.0], [1.0, 1.0], 0.95) == pytest.approx((0.5, 0.5, 0.5))
