"""Raw samples to one value per engine."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import strategies as st

from pytest_vllmperf.errors import SampleError, VllmPerfError
from pytest_vllmperf.stats import Direction, EngineTable, FloatArray, flatten, hodges_lehmann, tabulate

finite = st.floats(-100, 100)


def table(values: FloatArray, layout: tuple[int, ...], within: float = 0.0) -> EngineTable:
    return EngineTable(values, layout, np.full(len(values), within))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0, None, "fast", 10**400])
def test_a_bad_sample_is_refused_with_its_metric_and_position(bad: object) -> None:
    sessions = [[[1.0, 2.0]], [[1.0], [1.0, 2.0, bad]]]
    with pytest.raises(SampleError, match=r"tput\[1\]\[1\]\[2\]: .* not a positive finite number") as caught:
        flatten(sessions, "tput")  # type: ignore[arg-type]
    assert (caught.value.metric, caught.value.position) == ("tput", (1, 1, 2))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, VllmPerfError)


@pytest.mark.parametrize(
    ("sessions", "position", "problem"),
    [
        ([], (), "no sessions"),
        ([[[1.0]], []], (1,), "without engines"),
        ([[[1.0], []]], (0, 1), "without iterations"),
        ([[1.0, 2.0]], (), "must be nested"),
    ],
)
def test_gaps_and_wrong_nesting_are_refused(sessions: object, position: tuple[int, ...], problem: str) -> None:
    with pytest.raises(SampleError, match=problem) as caught:
        flatten(sessions, "tput")  # type: ignore[arg-type]
    assert caught.value.position == position


def test_sample_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(SampleError("tput", "is odd", (1, 2))))
    assert (str(error), error.metric, error.position) == ("tput[1][2]: is odd", "tput", (1, 2))


def test_flatten_keeps_order_and_shape() -> None:
    flat = flatten([[[1, 2], [3]], [[4, 5, 6]]], "tput")
    assert flat.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert flat.shape == ((2, 1), (3,))
    assert (flat.engines, flat.iterations) == (3, 2)


def test_engine_values_are_log_costs() -> None:
    samples = flatten([[[2.0] * 3, [4.0] * 2]], "m")
    lower = tabulate([samples], [Direction.LOWER])
    higher = tabulate([samples], [Direction.HIGHER])
    assert lower.values == pytest.approx(np.log([[2.0, 4.0]]))
    assert higher.values == pytest.approx(-lower.values)
    assert lower.layout == (2,)
    assert lower.within[0] == pytest.approx(0)


def test_within_run_variance_is_that_of_the_engine_value() -> None:
    draws = np.exp(np.random.default_rng(2).normal(0, 0.05, (1, 400, 10)))
    within = tabulate([flatten(draws.tolist(), "m")], [Direction.LOWER]).within[0]
    seen = np.var(hodges_lehmann(np.log(draws))[0])
    assert within == pytest.approx(seen, rel=0.2)


def test_one_iteration_per_engine_assumes_a_usual_spread() -> None:
    single = tabulate([flatten([[[3.0], [3.1]]], "m")], [Direction.LOWER])
    assert single.within[0] == pytest.approx(0.02**2)
    mixed = tabulate([flatten([[[3.0], [3.1, 3.1]]], "m")], [Direction.LOWER])
    assert mixed.within[0] == pytest.approx(0, abs=1e-12)
