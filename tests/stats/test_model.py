"""The noise model: its level, its standard deviations, and where new engines lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_vllmperf.stats import (
    WALL_CLOCK,
    EngineTable,
    FloatArray,
    NoiseModel,
    against_centre,
    engine_sd,
    expected_spread,
    fit,
    hodges_lehmann,
    hodges_lehmann_variance,
    location,
    location_variance,
    new_engines,
    observe,
    posterior,
)
from tests.stats.conftest import QUIET, baselines, drawn, known_model, table

ONE_MODE, MODES, CALM = np.array([False]), np.array([True]), np.array([0.01])


def typical(seed: int, rows: int, sessions: int) -> FloatArray:
    return drawn(np.random.default_rng(seed), rows, sessions, 3, 0.01, 0.015)


# --- standard deviations ------------------------------------------------------------------------------------


def test_a_single_engine_leaves_the_prior() -> None:
    model = fit(table(np.array([[0.3]]), (1,)), WALL_CLOCK)
    assert model.centre[0] == 0.3
    assert model.session_sd[0] == pytest.approx(WALL_CLOCK.session_sd, rel=0.03)
    assert model.engine_sd[0] == pytest.approx(WALL_CLOCK.engine_sd, rel=0.03)
    assert (model.sessions, model.engines) == (1, 1)


def test_identical_engines_shrink_towards_the_floor() -> None:
    model = fit(table(np.zeros((1, 300)), (3,) * 100), WALL_CLOCK)
    assert model.engine_sd[0] == pytest.approx(WALL_CLOCK.floor, rel=0.1)
    assert WALL_CLOCK.floor < model.session_sd[0] < 0.4 * WALL_CLOCK.session_sd


def test_the_prior_decides_what_little_data_says() -> None:
    stored = baselines(drawn(np.random.default_rng(1), 1, 1, 3, 0.0, 0.003))
    assert fit(stored, QUIET).engine_sd[0] < 0.004
    assert fit(stored, WALL_CLOCK).engine_sd[0] > 0.006


def test_modes_are_flagged_and_their_distance_is_noise() -> None:
    values = np.array([[0.0, 0.001, 0.1] * 5])
    model = fit(table(values, (3,) * 5), WALL_CLOCK)
    assert model.multimodal[0]
    assert model.centre[0] == pytest.approx(values.mean())
    assert model.engine_sd[0] > 0.04


def test_the_prior_counts_for_less_where_engines_come_in_groups() -> None:
    """It describes engines of one mode."""
    stored = table(np.array([[0.0, 0.001, 0.1] * 2, [0.0, 0.001, 0.002] * 2]), (3, 3))
    narrow = replace(WALL_CLOCK, engine_spread=0.2)
    model = fit(stored, narrow)
    unwidened = posterior(observe(stored.values, stored.layout, narrow, None)[1], narrow)
    assert model.multimodal.tolist() == [True, False]
    assert model.engine_sd[0] > 1.05 * engine_sd(unwidened)[0]
    assert model.engine_sd[1] == pytest.approx(engine_sd(unwidened)[1])


def test_sessions_that_differ_beyond_doubt_are_believed_even_with_one_engine_each() -> None:
    model = fit(table(np.array([[0.0, 0.2, -0.2, 0.1, -0.1, 0.15, -0.1]]), (1,) * 7), WALL_CLOCK)
    assert 0.045 < model.session_sd[0] <= 0.2


def test_one_wild_engine_hardly_moves_centre_and_spread() -> None:
    calm = drawn(np.random.default_rng(4), 200, 5, 3, 0.0, 0.01)
    wild = calm.copy()
    wild[:, 2, 1] += 0.3
    before, after = fit(baselines(calm), WALL_CLOCK), fit(baselines(wild), WALL_CLOCK)
    assert after.multimodal.mean() < 0.05
    assert np.median(np.abs(after.centre - before.centre)) < 0.008, "not pulled in it would be 0.3 / 15 = 0.02"
    assert np.median(after.engine_sd) < 2.2 * np.median(before.engine_sd)


# --- the level ----------------------------------------------------------------------------------------------


def test_the_level_is_that_of_the_first_five_sessions() -> None:
    first = typical(5, 50, 5)
    later = np.concatenate([first, typical(6, 50, 15) + 0.3], axis=1)
    young, old = fit(baselines(first), WALL_CLOCK), fit(baselines(later), WALL_CLOCK)
    for one in (young, old):
        assert one.centre == pytest.approx(first.mean(axis=(1, 2)), abs=0.01)
    same = np.concatenate([first, typical(6, 50, 15)], axis=1)
    assert fit(baselines(same), WALL_CLOCK).centre == pytest.approx(young.centre, abs=0.004)
    assert fit(baselines(same), WALL_CLOCK).session_sd.std() < young.session_sd.std(), "later sessions show the noise"


def test_unequal_sessions_weigh_alike_in_the_level() -> None:
    model = fit(table(np.array([[0.0, 0.0, 0.0, 0.01]]), (3, 1)), WALL_CLOCK)
    assert model.centre[0] == pytest.approx(0.005)
    effects = against_centre(model, 1)
    assert effects.session == pytest.approx(1.5)
    assert effects.engine == pytest.approx(1 + (1 / 3 + 1) / 4)


def test_only_sessions_of_the_anchor_count_as_its_effects() -> None:
    effects = against_centre(known_model(np.zeros((1, 20))), 1)
    assert effects.session == pytest.approx(1 + 1 / 5)
    assert effects.engine == pytest.approx(1 + 5 / 3 / 25)


def test_rows_of_a_batch_do_not_influence_each_other() -> None:
    values = np.random.default_rng(5).normal(0, 0.02, (40, 20))
    values[7:20, 3] += 0.3
    values[20:25, ::3] += 0.2
    layout = (3, 2, 3, 3, 3, 3, 3)
    together = fit(table(values, layout), WALL_CLOCK, (5, 4))
    assert 0 < together.multimodal.mean() < 0.5
    for row in (0, 17, 22, 39):
        alone = fit(table(values[row : row + 1], layout), WALL_CLOCK, (5, 4))
        for name in ("centre", "sessions_at", "weights", "multimodal", "session_sd", "engine_sd"):
            assert getattr(together, name)[row] == pytest.approx(getattr(alone, name)[0]), name


@given(hnp.arrays(np.float64, (1, 9), elements=st.floats(-0.2, 0.2)), st.floats(-5, 5))
def test_a_shift_moves_the_levels_alone(values: FloatArray, shift: float) -> None:
    # Rounded, so that no engine lies so close to the modality limit that the shift's rounding decides.
    values = np.round(values, 3) + 1e-4 * np.arange(9) ** 2
    before, after = fit(table(values, (3, 3, 3)), WALL_CLOCK), fit(table(values + shift, (3, 3, 3)), WALL_CLOCK)
    assert after.centre[0] - shift == pytest.approx(before.centre[0], abs=1e-9)
    assert after.sessions_at - shift == pytest.approx(before.sessions_at, abs=1e-9)
    assert after.weights == pytest.approx(before.weights, abs=1e-6)


def test_a_gap_is_kept_out_of_the_session_noise() -> None:
    values = np.concatenate([typical(7, 50, 5), typical(8, 50, 5) + 0.06], axis=1)
    stored: EngineTable = baselines(values)
    across, kept_out = fit(stored, WALL_CLOCK), fit(stored, WALL_CLOCK, (5, 10))
    assert kept_out.gap == (5, 10)
    assert np.median(kept_out.session_sd) < 0.8 * np.median(across.session_sd)


def test_models_are_frozen() -> None:
    model: NoiseModel = fit(table(np.zeros((1, 1)), (1,)), WALL_CLOCK)
    with pytest.raises(AttributeError):
        model.layout = (2,)  # type: ignore[misc]


# --- new engines --------------------------------------------------------------------------------------------


def test_location_is_the_median_of_three_the_mean_in_modes_and_hodges_lehmann_else() -> None:
    assert location(np.array([[0.0, 0.02, 0.03]]), ONE_MODE, CALM)[0] == pytest.approx(0.02)
    assert location(np.array([[0.0, 0.1, 0.8]]), MODES, CALM)[0] == pytest.approx(0.3)
    assert location(np.array([[0.0, 0.04]]), ONE_MODE, CALM)[0] == pytest.approx(0.02)
    four = np.array([[0.0, 0.01, 0.02, 0.05]])
    assert location(four, ONE_MODE, CALM)[0] == pytest.approx(hodges_lehmann(four)[0])


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_one_accident_of_a_start_is_left_out(count: int) -> None:
    calm = np.linspace(0.0, 0.01, count - 1)
    wild = np.append(calm, 0.5)[np.newaxis]
    assert location(wild, ONE_MODE, CALM)[0] == pytest.approx(hodges_lehmann(calm))
    near = np.append(calm, 0.03)[np.newaxis]
    assert location(near, ONE_MODE, CALM)[0] > hodges_lehmann(calm), "within 6 standard deviations it counts"
    assert location(np.array([[0.0, 0.5]]), ONE_MODE, CALM)[0] == pytest.approx(0.25), "of two, neither is the wild one"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_the_variance_of_a_location_matches_simulation(count: int) -> None:
    draws = np.random.default_rng(7).normal(size=(60_000, count))
    spread = np.var(location(draws, np.zeros(len(draws), dtype=np.bool_), np.full(len(draws), 1.0)))
    assert location_variance(count) == pytest.approx(spread, rel=0.03)


def test_new_engines_count_as_a_mean_where_they_come_in_groups() -> None:
    model = replace(known_model(np.zeros((2, 5))), multimodal=np.array([True, False]))
    assert new_engines(model, 3) == pytest.approx([1 / 3, location_variance(3)])
    assert new_engines(model, 6) == pytest.approx([1 / 6, hodges_lehmann_variance(6)])


# --- what more sessions would show --------------------------------------------------------------------------


def test_expected_spread_is_what_such_sessions_show_in_the_mean() -> None:
    model = known_model(np.zeros((1, 2)), engine_sd=0.015, session_sd=0.01)
    expected = expected_spread(model, 8)
    assert expected.engine[0] == pytest.approx(model.engine_sd[0] ** 2)
    assert expected.session[0] == pytest.approx(model.session_sd[0] ** 2 + model.engine_sd[0] ** 2 / 3)
    assert (expected.engine_df[0], expected.session_df[0]) == (16, pytest.approx(2 * 7**2 / 20))
    assert not expected_spread(model, 1).session_df.any()
    found = posterior(expected_spread(model, 200), WALL_CLOCK)
    assert replace(model, weights=found).engine_sd[0] == pytest.approx(model.engine_sd[0], rel=0.05)
    assert replace(model, weights=found).session_sd[0] == pytest.approx(model.session_sd[0], rel=0.1)
