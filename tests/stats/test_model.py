"""The noise model and its predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_vllmperf.stats import (
    EngineTable,
    FloatArray,
    NoiseModel,
    Prediction,
    detectable_change,
    fit,
    hodges_lehmann,
    hodges_lehmann_variance,
    location,
    location_variance,
    predict,
)

finite = st.floats(-100, 100)


def table(values: FloatArray, layout: tuple[int, ...], within: float = 0.0) -> EngineTable:
    return EngineTable(values, layout, np.full(len(values), within))


def test_a_single_engine_leaves_the_priors() -> None:
    model = fit(table(np.array([[0.3]]), (1,), within=0.0004))
    assert model.centre[0] == 0.3
    assert model.session_variance[0] == pytest.approx(0.01**2)
    assert model.engine_variance[0] == pytest.approx(0.015**2 + 0.0004)
    assert (model.session_df[0], model.engine_df[0]) == (3, 4)
    assert (model.sessions, model.engines) == (1, 1)


def test_identical_engines_shrink_towards_zero_but_keep_the_floor() -> None:
    model = fit(table(np.zeros((1, 600)), (3,) * 200))
    assert model.engine_variance[0] == pytest.approx(0.005**2)
    assert model.session_variance[0] == pytest.approx(0.005**2)


def test_shrinkage_weighs_the_prior_with_four_engines_degrees() -> None:
    model = fit(table(np.array([[0.0, 0.02, 0.04]]), (3,)))
    assert model.engine_variance[0] == pytest.approx((4 * 0.015**2 + 2 * 0.02**2) / 6)


@pytest.mark.parametrize(("session_sd", "engine_sd"), [(0.01, 0.03), (0.04, 0.01), (0.02, 0.02)])
def test_components_are_recovered_from_many_sessions(session_sd: float, engine_sd: float) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, session_sd, (50, 200, 1)) + rng.normal(0, engine_sd, (50, 200, 3))
    model = fit(table(values.reshape(50, -1), (3,) * 200))
    assert math.sqrt(model.session_variance.mean()) == pytest.approx(session_sd, rel=0.1)
    assert math.sqrt(model.engine_variance.mean()) == pytest.approx(engine_sd, rel=0.1)


def test_agreeing_prior_and_data_add_their_degrees_and_disagreeing_ones_do_not() -> None:
    spread = np.array([[-1.0, 0.0, 1.0, -1.0, 0.0, 1.0]])
    agreeing = fit(table(0.015 * spread, (3, 3)))
    assert agreeing.engine_df[0] == pytest.approx(8)
    assert 4 < fit(table(0.1 * spread, (3, 3))).engine_df[0] < 5


def test_one_wild_engine_hardly_moves_centre_and_spread() -> None:
    rng = np.random.default_rng(4)
    calm = rng.normal(0, 0.01, (200, 15))
    wild = calm.copy()
    wild[:, 7] += 0.3
    before, after = fit(table(calm, (3,) * 5)), fit(table(wild, (3,) * 5))
    assert after.multimodal.mean() < 0.05
    assert np.median(np.abs(after.centre - before.centre)) < 0.002, "unwinsorised it would be 0.3 / 15 = 0.02"
    assert np.median(after.engine_variance) < 2 * np.median(before.engine_variance)


def test_modes_are_kept_and_flagged() -> None:
    values = np.array([[0.0, 0.001, 0.1] * 5])
    model = fit(table(values, (3,) * 5))
    assert model.multimodal[0]
    assert model.centre[0] == pytest.approx(values.mean())
    assert model.engine_variance[0] > 0.04**2
    assert 10 < model.engine_df[0] < 11, "the prior disagrees and lends next to nothing"


def test_unbalanced_sessions_weigh_alike_in_the_centre() -> None:
    model = fit(table(np.array([[0.0, 0.0, 0.0, 0.01]]), (3, 1)))
    assert model.centre[0] == pytest.approx(0.005)
    spread = predict(model, 1).sd[0] ** 2
    expected = model.session_variance[0] * 1.5 + model.engine_variance[0] * (1 + (1 / 3 + 1) / 4)
    assert spread == pytest.approx(expected)


def test_rows_of_a_batch_do_not_influence_each_other() -> None:
    values = np.random.default_rng(5).normal(0, 0.02, (40, 11))
    layout = (3, 2, 3, 3)
    together = fit(table(values, layout, 1e-4))
    for row in (0, 17, 39):
        alone = fit(table(values[row : row + 1], layout, 1e-4))
        for name in (
            "centre",
            "session_variance",
            "session_df",
            "engine_variance",
            "engine_df",
            "multimodal",
        ):
            assert getattr(together, name)[row] == pytest.approx(getattr(alone, name)[0])


def test_prediction_covers_new_engines_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    trials = 20_000
    stored = rng.normal(0, 0.01, (trials, 5, 1)) + rng.normal(0, 0.015, (trials, 5, 3))
    new = rng.normal(0, 0.01, (trials, 1)) + rng.normal(0, 0.015, (trials, 3))
    model = fit(table(stored.reshape(trials, -1), (3,) * 5))
    beyond = location(new, model.multimodal) - model.centre > predict(model, 3).reach(0.9)
    assert beyond.mean() == pytest.approx(0.10, abs=0.02)


def test_location_is_the_median_of_three_the_mean_in_modes_and_hodges_lehmann_else() -> None:
    no, yes = np.array([False]), np.array([True])
    assert location(np.array([[0.0, 0.1, 0.9]]), no)[0] == pytest.approx(0.1)
    assert location(np.array([[0.0, 0.1, 0.8]]), yes)[0] == pytest.approx(0.3)
    four = np.array([[0.0, 0.1, 0.2, 9.0]])
    assert location(four, no)[0] == pytest.approx(hodges_lehmann(four)[0])
    draws = np.random.default_rng(7).normal(size=(60_000, 3))
    spread = np.var(location(draws, np.zeros(len(draws), dtype=bool)))
    assert location_variance(3) == pytest.approx(spread, rel=0.03)
    assert location_variance(5) == hodges_lehmann_variance(5)


def test_more_engines_narrow_the_prediction_down_to_the_session() -> None:
    model = fit(table(np.random.default_rng(8).normal(0, 0.02, (1, 15)), (3,) * 5))
    spreads = [float(predict(model, count).sd[0]) for count in (1, 2, 3, 4, 5, 6, 50)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] ** 2 > model.session_variance[0]


def test_detectable_change_is_margin_plus_power_until_noise_takes_over() -> None:
    quiet = Prediction(np.array([0.01]), np.array([1e6]))
    loud = Prediction(np.array([0.05]), np.array([1e6]))
    margin = np.array([0.05])
    assert detectable_change(quiet, margin, 0.005, 0.8)[0] == pytest.approx(0.05 + 0.8416 * 0.01, rel=1e-3)
    assert detectable_change(loud, margin, 0.005, 0.8)[0] == pytest.approx((2.5758 + 0.8416) * 0.05, rel=1e-3)


@given(hnp.arrays(np.float64, (1, 9), elements=st.floats(-0.2, 0.2)), st.floats(-5, 5))
def test_a_shift_moves_the_centre_alone(values: FloatArray, shift: float) -> None:
    # Rounded, so that no engine lies so close to the modality limit that the shift's rounding decides.
    values = np.round(values, 3) + 1e-4 * np.arange(9) ** 2
    before, after = fit(table(values, (3, 3, 3))), fit(table(values + shift, (3, 3, 3)))
    assert after.centre[0] - shift == pytest.approx(before.centre[0], abs=1e-9)
    assert after.engine_variance == pytest.approx(before.engine_variance, rel=1e-6)
    assert after.session_variance == pytest.approx(before.session_variance, rel=1e-6)


def test_sessions_that_differ_beyond_doubt_are_believed_even_with_one_engine_each() -> None:
    model = fit(table(np.array([[0.0, 0.2, -0.2, 0.1, -0.1]]), (1,) * 5))
    assert 0.1 < math.sqrt(model.session_variance[0]) < 0.16
    assert model.engine_variance[0] == pytest.approx(0.015**2)


def test_models_are_frozen() -> None:
    model: NoiseModel = fit(table(np.zeros((1, 1)), (1,)))
    with pytest.raises(AttributeError):
        model.layout = (2,)  # type: ignore[misc]
