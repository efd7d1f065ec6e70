"""TTFT, paired by request."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats import Direction, pair_requests


def requests(level: float, seed: int, count: int = 400) -> list[float]:
    """Requests of very different length (the same in every engine), each engine with a level of its own."""
    prompts = np.random.default_rng(0).lognormal(0, 1, count)
    times: list[float] = (level * prompts * np.random.default_rng(seed).lognormal(0, 0.1, count)).tolist()
    return times


def test_pairing_cancels_the_prompts() -> None:
    stored = [[requests(1.0, 1), requests(1.0, 2)], [requests(1.0, 3)]]
    paired = pair_requests(stored, [requests(1.1, 4), requests(1.0, 5)], Direction.LOWER, "ttft")
    assert paired.baseline.layout == (2, 1)
    assert np.abs(paired.baseline.values).max() < 0.05, "the prompts themselves spread by 100 %"
    assert paired.new[0] == pytest.approx([math.log(1.1), 0], abs=0.05)
    assert paired.requests == 400
    assert math.sqrt(paired.baseline.within[0]) == pytest.approx(math.sqrt(math.pi / 2) * 0.1 / 20, rel=0.2)


def test_pairing_takes_the_mean_of_the_logarithms_of_the_baseline_engines_as_reference() -> None:
    stored = [[[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]]
    paired = pair_requests(stored, [[2.0, 40.0]], Direction.LOWER, "ttft")
    assert paired.baseline.values[0] == pytest.approx([-math.log(2), 0, math.log(2)])
    assert paired.new[0, 0] == pytest.approx(math.log(2) / 2)
    mirrored = pair_requests(stored, [[2.0, 40.0]], Direction.HIGHER, "goodput")
    assert mirrored.new == pytest.approx(-paired.new)
    assert mirrored.baseline.values == pytest.approx(-paired.baseline.values)


def engine_rows(rng: np.random.Generator, levels: np.ndarray, count: int, request_sd: float) -> list[list[float]]:
    """An engine a level, log units: the same prompts, and each request with noise of its own."""
    prompts = np.random.default_rng(0).normal(0, 1, count)
    rows: list[list[float]] = np.exp(
        prompts + levels[:, np.newaxis] + rng.normal(0, request_sd, (len(levels), count))
    ).tolist()
    return rows


@pytest.mark.parametrize("sessions", [1, 2, 5])
@pytest.mark.parametrize(("engine_sd", "request_sd"), [(0.015, 0.1), (0.003, 0.1), (0.0, 0.1)])
def test_paired_engines_spread_as_engines_do_that_share_no_reference(
    sessions: int, engine_sd: float, request_sd: float
) -> None:
    """A reference that is pulled by the engine itself makes its baseline look quiet."""
    rng, requests_each, found = np.random.default_rng(sessions), 60, []
    for _ in range(300):
        stored = engine_rows(rng, rng.normal(0, engine_sd, 3 * sessions), requests_each, request_sd)
        nested = [stored[3 * day : 3 * day + 3] for day in range(sessions)]
        values = pair_requests(nested, (), Direction.LOWER, "ttft").baseline.values[0].reshape(sessions, 3)
        found.append(values.var(axis=1, ddof=1).mean())
    independent = engine_sd**2 + math.pi / 2 * request_sd**2 / requests_each
    # A little less: with the mean of n engines taken off, a request's noise is rounder than that of one engine.
    assert 0.8 * independent < np.mean(found) < 1.1 * independent


def test_a_lone_baseline_engine_borrows_the_spread_of_the_new_ones() -> None:
    alone = pair_requests([[requests(1.0, 1)]], [], Direction.LOWER, "ttft")
    assert (alone.new.shape, alone.baseline.within[0]) == ((1, 0), 0)
    joined = pair_requests([[requests(1.0, 1)]], [requests(1.0, 2)], Direction.LOWER, "ttft")
    assert joined.baseline.values[0, 0] == 0
    assert joined.baseline.within[0] > 0


def test_engines_with_other_requests_are_refused() -> None:
    with pytest.raises(SampleError, match=r"ttft\[1\]\[0\]: 3 requests, but the first engine has 2"):
        pair_requests([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]], [], Direction.LOWER, "ttft")
    with pytest.raises(SampleError, match=r"ttft \(new\)\[0\]\[1\]: 1 requests"):
        pair_requests([[[1.0, 2.0]]], [[1.0, 2.0], [1.0]], Direction.LOWER, "ttft")
