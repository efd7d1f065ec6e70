"""The Pareto front, and cliffs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.sweep.front import falls, pareto

rows = st.lists(st.tuples(*[st.integers(-5, 5).map(float)] * 3), max_size=25)


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


@given(rows)
def test_nothing_dominates_the_front_and_it_dominates_all_others(table: list[tuple[float, ...]]) -> None:
    front = pareto(table)
    for place, row in enumerate(table):
        beaten = [other for other in table if dominates(other, row)]
        assert (place in front) == (not beaten)
        if beaten:
            assert any(dominates(table[best], row) for best in front)


def test_fast_for_many_and_fast_for_each_are_both_on_it() -> None:
    assert pareto([(1000, -0.2, 20), (400, -0.02, 60), (900, -0.3, 15)]) == [0, 1]


def measured(*levels: float, noise: float = 0.01, iterations: int = 10, seed: int = 1) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [list(level * np.exp(rng.normal(0, noise, iterations))) for level in levels]


def test_a_fall_is_told_with_its_interval() -> None:
    (fall,) = falls(measured(100, 200, 150, 151))
    assert fall.index == 1
    assert fall.low < fall.ratio < fall.high < 1
    assert abs(fall.ratio - 0.75) < 0.02


def test_noise_is_no_cliff() -> None:
    found = [falls(measured(*[100.0] * 8, noise=0.08, seed=seed)) for seed in range(200)]
    assert sum(map(bool, found)) <= 0.05 * 200


def test_a_certain_fall_of_little_is_none() -> None:
    assert falls(measured(100, 98, noise=0.0001)) == []
    assert falls(measured(100, 96, noise=0.0001)) != []


def test_one_iteration_tells_no_noise() -> None:
    assert falls([[100.0], [10.0]]) == []


def test_iterations_that_are_all_alike_have_no_noise() -> None:
    (fall,) = falls([[100.0] * 3, [50.0] * 3])
    assert abs(fall.high - 0.5) < 1e-9
