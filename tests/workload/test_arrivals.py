"""`Arrivals.schedule`: in order, from 0, at the rate that was asked for, the same for the same seed."""

import math
import statistics
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload import CLOSED, Arrivals

relaxed = settings(max_examples=60)
SECOND = 1_000_000_000

rates = st.floats(0.01, 10_000)
seeds = st.integers(-(2**40), 2**40)


@st.composite
def open_loops(draw: st.DrawFn) -> Arrivals:
    process = draw(st.sampled_from(["constant", "poisson", "gamma", "ramp"]))
    shape = draw(st.floats(1e-6, 1e6)) if process == "gamma" else 1.0
    end = draw(rates) if process == "ramp" else None
    return Arrivals(process, draw(rates), shape, end)


def schedule(arrivals: Arrivals, requests: int, seed: int = 0) -> tuple[int, ...]:
    due = arrivals.schedule(requests, seed)
    assert due is not None
    return due


def gaps(arrivals: Arrivals, requests: int, seed: int = 0) -> list[float]:
    return [(b - a) / SECOND for a, b in pairwise(schedule(arrivals, requests, seed))]


@relaxed
@given(open_loops(), st.integers(1, 300), seeds)
def test_a_schedule_is_in_order_from_zero_and_the_same_for_a_seed(arrivals: Arrivals, requests: int, seed: int) -> None:
    due = schedule(arrivals, requests, seed)
    assert len(due) == requests
    assert due[0] == 0
    assert list(due) == sorted(due)
    assert all(type(one) is int for one in due)
    assert due == arrivals.schedule(requests, seed)


@relaxed
@given(st.sampled_from(["constant", "poisson", "gamma"]), rates, st.integers(2, 300), seeds)
def test_the_mean_rate_is_the_one_asked_for_whatever_the_seed(
    process: str, rate: float, requests: int, seed: int
) -> None:
    due = schedule(Arrivals(process, rate, 0.3 if process == "gamma" else 1.0), requests, seed)
    assert due[-1] == pytest.approx((requests - 1) / rate * SECOND, abs=1)


@pytest.mark.parametrize("process", ["poisson", "gamma"])
def test_random_gaps_differ_from_seed_to_seed(process: str) -> None:
    arrivals = Arrivals(process, 10)
    assert schedule(arrivals, 20, 1) != schedule(arrivals, 20, 2)


def test_constant_gaps_do_not_drift() -> None:
    assert schedule(Arrivals("constant", 3), 7) == tuple(round(i * SECOND / 3) for i in range(7))


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0, 25.0])
def test_the_spread_of_gamma_gaps_is_one_over_the_root_of_the_shape(shape: float) -> None:
    found = gaps(Arrivals("gamma", 50, shape), 20_000, seed=3)
    assert statistics.fmean(found) == pytest.approx(1 / 50)
    assert statistics.stdev(found) / statistics.fmean(found) == pytest.approx(1 / math.sqrt(shape), rel=0.05)


def test_poisson_gaps_are_exponential() -> None:
    found = sorted(gaps(Arrivals("poisson", 50), 20_000, seed=5))
    for share in (0.1, 0.5, 0.9, 0.99):  # quantiles of the exponential distribution: -ln(1 - share) / rate
        assert found[int(share * len(found))] == pytest.approx(-math.log(1 - share) / 50, rel=0.06)


def test_gamma_of_shape_one_is_the_poisson_process() -> None:
    assert schedule(Arrivals("gamma", 7, 1.0), 30, 4) == schedule(Arrivals("poisson", 7), 30, 4)


def test_random_schedules_are_pinned() -> None:
    # A key stands for these very times: another generator makes another workload under the same key.
    assert schedule(Arrivals("poisson", 10), 4, 7) == (0, 60_864_393, 278_185_274, 300_000_000)
    assert schedule(Arrivals("gamma", 10, 0.5), 3, 7) == (0, 106_089_209, 200_000_000)


def test_a_shape_of_which_all_gaps_vanish_is_one_burst() -> None:
    due = schedule(Arrivals("gamma", 10, 1e-6), 11, 3)
    assert due[-1] == SECOND
    assert set(due) == {0, SECOND}


@relaxed
@given(rates, rates, st.integers(2, 400))
def test_a_ramp_is_the_inverse_of_its_formula(first: float, last: float, requests: int) -> None:
    span = 2 * requests / (first + last)
    for index, due in enumerate(schedule(Arrivals("ramp", first, end_rate=last), requests)):
        passed = due / SECOND
        counted = first * passed + (last - first) * passed**2 / (2 * span)
        assert counted == pytest.approx(index, rel=1e-5, abs=1e-4)
        assert passed < span


@pytest.mark.parametrize(("first", "last"), [(10, 100), (100, 10)])
def test_a_ramp_goes_from_one_rate_to_the_other(first: float, last: float) -> None:
    found = gaps(Arrivals("ramp", first, end_rate=last), 5_000)
    assert 1 / found[0] == pytest.approx(first, rel=0.02)
    assert 1 / found[-1] == pytest.approx(last, rel=0.02)


def test_a_ramp_between_equal_rates_is_constant() -> None:
    assert schedule(Arrivals("ramp", 5, end_rate=5), 50) == schedule(Arrivals("constant", 5), 50)


def test_a_trace_keeps_its_times() -> None:
    assert Arrivals("trace", due=(0.0, 0.25, 0.25, 1.5)).schedule(4, 0) == (
        0,
        SECOND // 4,
        SECOND // 4,
        3 * SECOND // 2,
    )


def test_a_trace_of_another_length_is_refused() -> None:
    with pytest.raises(WorkloadError, match="trace has times for 2 requests, not for 3"):
        Arrivals("trace", due=(0.0, 1.0)).schedule(3, 0)


def test_a_closed_loop_has_no_schedule() -> None:
    assert CLOSED.schedule(5, 0) is None
    assert not CLOSED.open_loop
    assert Arrivals("constant", 1).open_loop


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"process": "poison", "rate": 1}, "did you mean 'poisson'?"),
        ({"process": None}, "arrivals=None"),
        ({"process": "poisson"}, "rate=None must be a number"),
        ({"process": "poisson", "rate": 0}, "rate=0 must be a number between 1e-06 and 1e+06"),
        ({"process": "poisson", "rate": math.nan}, "rate=nan"),
        ({"process": "poisson", "rate": math.inf}, "rate=inf"),
        ({"process": "poisson", "rate": "8"}, "rate='8'"),
        ({"process": "poisson", "rate": True}, "rate=True"),
        ({"process": "closed", "rate": 8}, "rate=8 is not valid for"),
        ({"process": "ramp", "rate": 8}, "ramp_to=None"),
        ({"process": "constant", "rate": 8, "end_rate": 9}, "ramp_to=9 is not valid for"),
        ({"process": "gamma", "rate": 8, "burstiness": 0}, "burstiness=0"),
        ({"process": "gamma", "rate": 8, "burstiness": None}, "burstiness=None"),
        ({"process": "poisson", "rate": 8, "burstiness": 2}, "burstiness=2 is valid only for gamma"),
        ({"process": "trace"}, "a trace"),
        ({"process": "poisson", "rate": 8, "due": (0.0,)}, "a trace"),
        ({"process": "trace", "due": (0.0, 2.0, 1.0)}, "request 2 is due at 1.0 s, but the request before it at 2.0 s"),
        ({"process": "trace", "due": (-1.0,)}, "request 0"),
        ({"process": "trace", "due": (0.0, math.nan)}, "request 1"),
    ],
)
def test_arrivals_that_make_no_sense_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        Arrivals(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
