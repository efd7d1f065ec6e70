"""What cannot be a sample."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.samples import EngineSamples

positive = st.floats(1e-9, 1e9)


def engine(**changed: Any) -> EngineSamples:
    return EngineSamples(
        **{
            "discarded": 1,
            "iterations": 3,
            "warmup": {"tpot.p50": [0.3]},
            "samples": {"tpot.p50": [0.1, 0.2, 0.3], "preemptions": [0.0, 0.0, 1.0]},
            "once": {"load_time": 5.0},
            "ttft_by_request": [0.1, 0.2],
            **changed,
        }
    )


@given(st.lists(positive, min_size=3, max_size=3), st.sampled_from(sorted(METRICS)))
def test_positive_samples_of_any_metric_are_fine(values: list[float], metric: str) -> None:
    check_engine(engine(samples={metric: values}), requests=2)


@given(
    st.lists(positive, min_size=3, max_size=3),
    st.integers(0, 2),
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0]),
)
def test_one_bad_sample_is_found_where_it_is(values: list[float], position: int, bad: float) -> None:
    values[position] = bad
    with pytest.raises(SampleError) as caught:
        check_engine(engine(samples={"tpot.p50": values}))
    assert (caught.value.metric, caught.value.position) == ("tpot.p50", (position,))
    assert caught.value.problem == f"{bad!r} is not a positive finite number"


def test_opposite_infinities_are_found_too() -> None:
    with pytest.raises(SampleError, match="inf is not"):
        check_engine(engine(samples={"tpot.p50": [math.inf, -math.inf, 1.0]}))


@pytest.mark.parametrize("metric", ["preemptions", "queue.p50", "decode.p99", "itl.p50"])
def test_zero_is_a_value_of_counters_and_of_spans_that_can_be_empty(metric: str) -> None:
    check_engine(engine(samples={metric: [0.0, 0.0, 0.0]}))
    with pytest.raises(SampleError, match="not a finite number of at least 0"):
        check_engine(engine(samples={metric: [0.0, -1.0, 0.0]}))


@pytest.mark.parametrize(
    ("changed", "metric", "problem"),
    [
        ({"samples": {"tpot.p50": [0.1]}}, "tpot.p50", "1 samples, but the file lists 3 iterations"),
        ({"samples": {"tpot.p50": [0.1] * 4}}, "tpot.p50", "4 samples, but the file lists 3 iterations"),
        ({"warmup": {"tpot.p50": []}}, "tpot.p50", "0 samples, but the file lists 1 discarded iterations"),
        ({"ttft_by_request": [0.1]}, "ttft_by_request", "1 samples, but the file lists 2 requests"),
        ({"ttft_by_request": [0.1, math.nan]}, "ttft_by_request", "nan is not a positive finite number"),
        ({"once": {"load_time": 0.0}}, "load_time", "0.0 is not a positive finite number"),
        ({"warmup": {"tpot.p50": [math.inf]}}, "tpot.p50", "inf is not a positive finite number"),
        ({"samples": {"speed": [1.0] * 3}}, "speed", "no metric has this name"),
    ],
)
def test_every_list_is_looked_at(changed: dict[str, Any], metric: str, problem: str) -> None:
    with pytest.raises(SampleError) as caught:
        check_engine(engine(**changed), requests=2)
    assert (caught.value.metric, caught.value.problem) == (metric, problem)


def test_requests_that_were_not_all_finished_have_no_ttft_each() -> None:
    check_engine(engine(ttft_by_request=[]), requests=2)
    check_engine(engine(ttft_by_request=[0.1]), requests=None)


@pytest.mark.parametrize("bad", [1e308, 1.1e30, 5e-324, 0.9e-30])
def test_what_statistics_would_overflow_on_is_found(bad: float) -> None:
    """The sum of finite samples may not be finite, nor their ratio."""
    for values, position in (([bad] * 3, 0), ([0.1, 0.2, bad], 2)):
        with pytest.raises(SampleError) as caught:
            check_engine(engine(samples={"tpot.p50": values}))
        assert caught.value.position == (position,)
        assert caught.value.problem == f"{bad!r} is out of range; samples must be between 1e-30 and 1e+30"
    check_engine(engine(samples={"tpot.p50": [1e-30, 1e30, 1e30]}))


def test_no_number_among_others_is_found() -> None:
    with pytest.raises(SampleError, match="nan is not"):
        check_engine(engine(samples={"preemptions": [0.0, math.nan, 1.0]}))
