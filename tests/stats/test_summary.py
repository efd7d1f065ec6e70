"""Samples to summaries and intervals."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf import stats

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

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
