"""Samples to summaries and intervals."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from pytest_vllmperf import stats

relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

finite = st.floats(-1e12, 1e12, allow_subnormal=False)
positive = st.floats(0.1, 10)
pairs = st.lists(st.tuples(positive, positive), min_size=2, max_size=20)


@relaxed
@given(st.lists(finite, min_size=1, max_size=60))
def test_summary_is_numpys(values: list[float]) -> None:
    found = stats.summarize(values)
    assert list(found) == ["mean", "p50", "p90", "p95", "p99"]
    assert found["mean"] == pytest.approx(np.mean(values))
    for point in (50, 90, 95, 99):
        assert found[f"p{point}"] == pytest.approx(np.percentile(values, point))
    assert min(values) <= found["p50"] <= found["p90"] <= found["p95"] <= found["p99"] <= max(values)


def test_percentiles_interpolate() -> None:
    assert stats.summarize([0.0, 1.0]) == pytest.approx({"mean": 0.5, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99})


def test_a_summary_is_of_plain_floats() -> None:
    assert {type(value) for value in stats.summarize([1, 2]).values()} == {float}


def test_no_values_have_no_summary() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.summarize([])


def test_center_is_the_median_of_medians() -> None:
    assert stats.center([[1, 2, 90], [10, 20, 900], [5]]) == 5
    assert stats.center([[1, 3]]) == 2


@relaxed
@given(st.lists(st.lists(finite, min_size=1, max_size=8), min_size=1, max_size=5))
def test_center_knows_no_order(engines: list[list[float]]) -> None:
    turned = [samples[::-1] for samples in engines[::-1]]
    assert stats.center(turned) == stats.center(engines)


def test_an_engine_with_many_samples_weighs_no_more() -> None:
    assert stats.center([[1.0] * 100, [2.0], [3.0]]) == 2.0


@relaxed
@given(pairs)
def test_turning_a_ratio_round_inverts_its_interval(samples: list[tuple[float, float]]) -> None:
    a, b = zip(*samples, strict=True)
    one, other = stats.ratio_interval(a, b), stats.ratio_interval(b, a)
    assert one.estimate * other.estimate == pytest.approx(1)
    assert one.low * other.high == pytest.approx(1)
    assert one.low <= one.estimate <= one.high


@relaxed
@given(pairs, st.floats(0.01, 100))
def test_the_unit_of_the_samples_does_not_matter(samples: list[tuple[float, float]], factor: float) -> None:
    a, b = zip(*samples, strict=True)
    scaled = stats.ratio_interval([x * factor for x in a], [x * factor for x in b])
    plain = stats.ratio_interval(a, b)
    assert math.log(scaled.estimate) == pytest.approx(math.log(plain.estimate), abs=1e-9)
    assert scaled.high == pytest.approx(plain.high, rel=1e-6)


@relaxed
@given(st.lists(st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)), min_size=3, max_size=12), st.floats(0.5, 0.999))
def test_the_interval_is_students_of_the_log_ratios(samples: list[tuple[float, float]], confidence: float) -> None:
    a, b = (np.array(side) for side in zip(*samples, strict=True))
    logs = np.log(a / b)
    found = stats.ratio_interval(list(a), list(b), confidence)
    margin = reference.t.ppf((1 + confidence) / 2, len(logs) - 1) * reference.sem(logs)
    assert found.estimate == pytest.approx(math.exp(logs.mean()))
    assert found.low == pytest.approx(math.exp(logs.mean() - margin))
    assert found.high == pytest.approx(math.exp(logs.mean() + margin))
    assert (found.confidence, found.pairs) == (confidence, len(samples))


def test_drift_that_hits_both_sides_cancels() -> None:
    drift = np.array([1.0, 1.7, 0.6, 1.3, 0.9])
    found = stats.ratio_interval(list(20 * drift), list(10 * drift))
    assert (found.low, found.estimate, found.high) == pytest.approx((2, 2, 2))


def test_more_confidence_makes_a_wider_interval() -> None:
    a, b = [2.0, 2.1, 1.9, 2.05], [1.0, 1.0, 1.0, 1.0]
    narrow, wide = stats.ratio_interval(a, b, 0.9), stats.ratio_interval(a, b, 0.999)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_pair_bounds_nothing() -> None:
    found = stats.ratio_interval([6.0], [2.0])
    assert (found.estimate, found.low, found.high, found.pairs) == (pytest.approx(3), 0.0, math.inf, 1)


def test_an_interval_wider_than_a_float_is_unbounded() -> None:
    found = stats.ratio_interval([1e-9, 1e9], [1.0, 1.0])
    assert (found.low, found.high) == (pytest.approx(0), math.inf)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], "1 samples do not pair with 2"),
        ([], [], "0 samples"),
        ([1.0, 0.0], [1.0, 1.0], "positive"),
        ([1.0, 1.0], [1.0, -1.0], "positive"),
    ],
)
def test_samples_that_make_no_ratio_are_refused(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stats.ratio_interval(a, b)
