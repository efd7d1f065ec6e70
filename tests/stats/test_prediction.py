"""What a difference varies by where nothing changed, and how often that is so."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.stats import (
    WALL_CLOCK,
    Effects,
    FloatArray,
    Prediction,
    Prior,
    against_centre,
    detectable_change,
    fit,
    location,
    predict,
)
from pytest_vllmperf.stats.grid import ENGINE_SDS, SESSION_SDS
from pytest_vllmperf.stats.quantiles import normal_quantile
from tests.stats.conftest import QUIET, baselines, certain, drawn, known_model, on_grid

BLOCK, BLOCKS = 1500, 6


def from_prior(rng: np.random.Generator, prior: Prior, rows: int) -> tuple[FloatArray, FloatArray]:
    """Standard deviations of sessions and engines, as the prior says that they are."""
    one, other = rng.normal(size=(2, rows))
    mixed = prior.correlation * one + math.sqrt(1 - prior.correlation**2) * other
    session = prior.session_sd * np.exp(prior.session_spread * mixed)
    return np.maximum(session, prior.floor), np.maximum(
        prior.engine_sd * np.exp(prior.engine_spread * one), prior.floor
    )


def shares_beyond(prior: Prior, sessions: int) -> dict[tuple[int, float], float]:
    """By new engines and probability, how often they lie beyond the reach where nothing changed."""
    rng = np.random.default_rng(sessions)
    beyond = dict.fromkeys(((count, p) for count in (1, 3, 6) for p in (0.1, 0.005)), 0)
    for _ in range(BLOCKS):
        session_sd, engine_sd = from_prior(rng, prior, BLOCK)
        model = fit(baselines(drawn(rng, BLOCK, sessions, 3, session_sd, engine_sd)), prior)
        new = drawn(rng, BLOCK, 1, 6, session_sd, engine_sd)[:, 0]
        for count, probability in beyond:
            at = location(new[:, :count], model.multimodal, model.engine_sd)
            reach = predict(model.weights, against_centre(model, count)).reach(1 - probability)
            beyond[count, probability] += int((at - model.centre > reach).sum())
    return {key: found / (BLOCK * BLOCKS) for key, found in beyond.items()}


@pytest.mark.parametrize("sessions", [1, 3, 5])
@pytest.mark.parametrize("prior", [WALL_CLOCK, QUIET], ids=["wall clock", "quiet"])
def test_new_engines_lie_beyond_the_reach_as_often_as_it_says(prior: Prior, sessions: int) -> None:
    for (count, probability), found in shares_beyond(prior, sessions).items():
        standard_error = math.sqrt(probability * (1 - probability) / (BLOCK * BLOCKS))
        assert abs(found - probability) < 4 * standard_error + 0.08 * probability, (count, probability)


def test_more_engines_narrow_the_prediction_down_to_the_session() -> None:
    model = known_model(np.zeros((1, 5)), engine_sd=0.02, session_sd=0.01)
    spreads = [float(predict(model.weights, against_centre(model, count)).sd[0]) for count in (1, 2, 3, 4, 5, 6, 50)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] > model.session_sd[0]


def test_more_sessions_narrow_the_prediction() -> None:
    reach = []
    for sessions in (1, 2, 3, 5):
        model = known_model(np.zeros((1, sessions)))
        reach.append(float(predict(model.weights, against_centre(model, 3)).reach(0.99)[0]))
    assert reach == sorted(reach, reverse=True)


def test_where_the_noise_is_known_the_reach_is_a_normal_quantile() -> None:
    engine, session = ENGINE_SDS[on_grid(ENGINE_SDS, 0.02)], SESSION_SDS[on_grid(SESSION_SDS, 0.01)]
    found = predict(certain(0.02, 0.01), Effects(1.2, 0.5))
    sd = math.sqrt(1.2 * session**2 + 0.5 * engine**2)
    assert found.sd[0] == pytest.approx(sd)
    for probability in (0.6, 0.9, 0.995, 0.9999, 1 - 1e-7):
        assert found.reach(probability)[0] == pytest.approx(float(normal_quantile(probability)) * sd, rel=1e-3)
    assert found.reach(0.5)[0] == 0


def test_doubt_about_the_noise_makes_rare_distances_larger() -> None:
    sure = certain(0.02, 0.01)
    unsure = (certain(0.005, 0.01) + sure + certain(0.08, 0.01)) / 3
    ratios = [
        predict(unsure, Effects(0.0, 1.0)).reach(p)[0] / predict(sure, Effects(0.0, 1.0)).reach(p)[0]
        for p in (0.9, 0.999)
    ]
    assert ratios[1] > 1.3 * ratios[0]


@given(st.floats(0.5, 0.9999), st.floats(0.5, 0.9999), st.integers(0, 10_000))
def test_the_reach_grows_with_the_probability(one: float, other: float, seed: int) -> None:
    prediction = predict(np.random.default_rng(seed).dirichlet(np.ones(1300), 3), Effects(1.0, 1.0))
    low, high = sorted((one, other))
    assert (prediction.reach(low) <= prediction.reach(high) + 1e-12).all()
    assert (prediction.reach(low) >= 0).all()


@given(st.floats(1.1, 30.0), st.floats(0.6, 0.999))
def test_the_reach_scales_with_what_a_difference_is_made_of(factor: float, probability: float) -> None:
    weights = (certain(0.004, 0.002) + certain(0.01, 0.01)) / 2
    small = predict(weights, Effects(1.0, 1.0))
    large = predict(weights, Effects(factor, factor))
    assert large.sd == pytest.approx(math.sqrt(factor) * small.sd)
    # Between two tabulated distances the score is taken to be a straight line.
    assert large.reach(probability) == pytest.approx(math.sqrt(factor) * small.reach(probability), rel=0.01)


def test_each_metric_is_predicted_by_its_own_effects() -> None:
    weights = certain(0.02, 0.01, rows=3)
    found = predict(weights, Effects(1.0, np.array([1.0, 0.5, 1.0])))
    assert found.sd[0] == found.sd[2] == predict(weights[:1], Effects(1.0, 1.0)).sd[0]
    assert found.reach(0.99)[1] == predict(weights[:1], Effects(1.0, 0.5)).reach(0.99)[0]


def test_detectable_change_is_margin_plus_power_until_noise_takes_over() -> None:
    def known(engine_sd: float) -> tuple[Prediction, float]:
        prediction = predict(certain(engine_sd, 0.001), Effects(0.0, 1.0))
        return prediction, float(prediction.sd[0])

    margin = np.array([0.05])
    quiet, sd = known(0.01)
    assert detectable_change(quiet, margin, 0.005, 0.8)[0] == pytest.approx(0.05 + 0.8416 * sd, rel=1e-3)
    loud, sd = known(0.05)
    assert detectable_change(loud, margin, 0.005, 0.8)[0] == pytest.approx((2.5758 + 0.8416) * sd, rel=1e-3)
