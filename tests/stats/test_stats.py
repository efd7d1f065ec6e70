"""Estimators, and the noise model."""

from __future__ import annotations

import math
import pickle
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_vllmperf.errors import SampleError, VllmPerfError
from pytest_vllmperf.stats import (
    Direction,
    EngineTable,
    FloatArray,
    NoiseModel,
    Prediction,
    detectable_change,
    fit,
    flatten,
    hodges_lehmann,
    hodges_lehmann_variance,
    is_multimodal,
    location,
    location_variance,
    predict,
    tabulate,
    winsorise,
    winsorised_count,
    winsorised_variance_share,
)

finite = st.floats(-100, 100)


def table(values: FloatArray, layout: tuple[int, ...], within: float = 0.0) -> EngineTable:
    return EngineTable(values, layout, np.full(len(values), within))


# --- Hodges-Lehmann ---------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.integers(1, 14), elements=finite))
def test_hodges_lehmann_is_the_median_of_all_pairwise_averages(row: FloatArray) -> None:
    averages = [(a + b) / 2 for a, b in combinations_with_replacement(row.tolist(), 2)]
    assert hodges_lehmann(row[np.newaxis])[0] == pytest.approx(np.median(averages), abs=1e-9)


def test_hodges_lehmann_keeps_the_leading_axes_and_handles_many_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 3000, 5))
    together = hodges_lehmann(rows)
    assert together.shape == (7, 3000)
    assert together[6, 2999] == hodges_lehmann(rows[6, 2999])
    assert together[0, 0] == hodges_lehmann(rows[0, 0])


def test_hodges_lehmann_resists_outliers_that_move_the_mean() -> None:
    row = np.array([1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 50.0, 60.0])
    assert hodges_lehmann(row) == pytest.approx(1.0, abs=0.03)


def test_hodges_lehmann_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        hodges_lehmann(np.empty((3, 0)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 10, 12, 13, 20])
def test_hodges_lehmann_variance_matches_simulation(count: int) -> None:
    draws = np.random.default_rng(count).normal(size=(60_000, count))
    assert hodges_lehmann_variance(count) == pytest.approx(np.var(hodges_lehmann(draws)), rel=0.03)


# --- winsorising and modality -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engines", "sessions", "count"),
    [(1, 1, 0), (7, 1, 0), (8, 1, 1), (15, 5, 1), (28, 7, 1), (29, 7, 2), (60, 20, 4), (8, 8, 0), (10, 8, 0)],
)
def test_winsorised_count(engines: int, sessions: int, count: int) -> None:
    assert winsorised_count(engines, sessions) == count


def test_winsorise_pulls_in_the_largest_and_keeps_signs() -> None:
    rows = np.array([[0.1, -9.0, 0.3, -0.2], [5.0, 4.0, 3.0, -2.0]])
    assert winsorise(rows, 1).tolist() == [[0.1, -0.3, 0.3, -0.2], [4.0, 4.0, 3.0, -2.0]]
    assert winsorise(rows, 0) is rows


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.3])
def test_winsorised_variance_share_matches_simulation(share: float) -> None:
    draws = np.random.default_rng(1).normal(size=200_000)
    kept = winsorise(draws[np.newaxis], int(share * len(draws)))
    assert winsorised_variance_share(share) == pytest.approx(np.var(kept), rel=0.01)


def test_multimodal_needs_two_engines_and_fifteen_percent() -> None:
    quiet = np.linspace(-0.001, 0.001, 20)
    assert not is_multimodal(quiet[np.newaxis])[0]
    for far, expected in ((1, False), (2, False), (3, True)):
        row = quiet.copy()
        row[:far] += 0.1
        assert is_multimodal(row[np.newaxis])[0] == expected
    assert not is_multimodal(np.array([[0.0, 0.0, 0.0, 0.1]]))[0], "a quarter, but a single engine"
    assert is_multimodal(np.array([[0.0, 0.0, 0.0, 0.1, 0.1]]))[0]


def test_multimodal_ignores_what_is_below_two_and_a_half_percent_or_four_mad() -> None:
    assert not is_multimodal(np.array([[0.0] * 7 + [0.024] * 3]))[0]
    assert is_multimodal(np.array([[0.0] * 7 + [0.026] * 3]))[0]
    wide = np.array([[-0.03, -0.02, -0.01, 0.0, 0.0, 0.01, 0.02, 0.03, 0.055, -0.055]])
    assert not is_multimodal(wide)[0], "beyond 2.5 %, within 4 MAD"


# --- samples ----------------------------------------------------------------------------------------------


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
        ([[1.0, 2.0]], (), "not nested"),
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


# --- the model --------------------------------------------------------------------------------------------


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
