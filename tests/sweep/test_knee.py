"""The knee: found on planted shapes, and its interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.sweep.knee import SHARE, Engines, find_knee

LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ITERATIONS = 10
ENGINE_NOISE, ITERATION_NOISE = 0.01, 0.03

SHAPES: dict[str, Callable[[float], float]] = {
    "linear, then flat": lambda n: min(n, 32),
    "early": lambda n: min(n, 4),
    "late": lambda n: min(n, 128),
    "a batch costs a step and a little for each request": lambda n: min(n, 64) / (1 + 0.02 * min(n, 64)),
    "saturating": lambda n: n / (n + 4),
    "exponential": lambda n: 1 - np.exp(-n / 12),
    "hyperbolic tangent": lambda n: np.tanh(n / 20),
    "two slopes": lambda n: n if n <= 16 else 16 + (n - 16) * 0.01,
    "contention and coherence (Gunther's universal law)": lambda n: n / (1 + 0.03 * (n - 1) + 0.0004 * n * (n - 1)),
    "falls after its peak": lambda n: min(n, 48) * (0.6 if n > 64 else 1.0),
}


def planted(shape: Callable[[float], float]) -> int:
    """Where the knee is without noise."""
    levels = [shape(load) for load in LOADS]
    return next(place for place, level in enumerate(levels) if level >= SHARE * max(levels))


def drawn(
    shape: Callable[[float], float], rng: np.random.Generator, engines: int = 1, noise: float = ITERATION_NOISE
) -> list[Engines]:
    """A curve measured on engines that serve all loads, each a little faster or slower than the shape."""
    starts = np.exp(rng.normal(0, ENGINE_NOISE, engines))
    return [
        [list(shape(load) * start * np.exp(rng.normal(0, noise, ITERATIONS))) for start in starts] for load in LOADS
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_a_planted_knee_is_found_within_one_step(name: str) -> None:
    shape, rng = SHAPES[name], np.random.default_rng(3)
    truth, runs = planted(shape), 60
    found = [find_knee(drawn(shape, rng), seed) for seed in range(runs)]
    assert sum(abs(one.index - truth) <= 1 for one in found) >= 0.95 * runs
    assert sum(one.low <= truth <= one.high for one in found) >= 0.85 * runs


def test_ten_shapes_are_planted_and_their_knees_differ() -> None:
    assert len(SHAPES) == 10
    assert len({planted(shape) for shape in SHAPES.values()}) >= 5


def test_a_clear_knee_is_certain_and_a_flat_curve_is_not() -> None:
    rng = np.random.default_rng(1)
    clear = find_knee(drawn(lambda n: min(n, 32), rng))
    assert (clear.low, clear.index, clear.high) == (5, 5, 5)
    edge = [[[0.95 * 100 * f for f in (0.9, 1.0, 1.1)]], [[97.0, 98.0, 99.0]], [[100.0] * 3]]
    unsure = find_knee(edge)
    assert unsure.low == 0
    assert unsure.high >= 1


def test_more_engines_narrow_the_interval() -> None:
    def steps(engines: int) -> int:
        rngs = map(np.random.default_rng, range(20))
        found = [find_knee(drawn(lambda n: min(n, 32), rng, engines, noise=0.05)) for rng in rngs]
        return sum(one.high - one.low for one in found)

    assert steps(4) < 0.5 * steps(1)


def test_what_makes_an_engine_faster_falls_on_all_loads_alike() -> None:
    curve = [[[level * start] * 3 for start in (1.0, 1.5, 0.7)] for level in (50.0, 94.0, 100.0)]
    found = find_knee(curve)
    assert (found.low, found.index, found.high) == (2, 2, 2)


def test_an_engine_that_only_some_loads_have_is_left_out() -> None:
    curve = [[[50.0] * 3], [[100.0] * 3, [10.0] * 3], [[100.0] * 3]]
    assert find_knee(curve).index == 1


levels = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12)


@given(levels)
def test_without_noise_it_is_the_rule_itself(curve: list[float]) -> None:
    found = find_knee([[[level] * 3] for level in curve])
    first = next(place for place, level in enumerate(curve) if level >= SHARE * max(curve) * (1 - 1e-9))
    assert found.low == found.index == found.high
    assert found.index == first
