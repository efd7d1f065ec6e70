"""Prior and posterior of the two standard deviations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.stats import WALL_CLOCK, FloatArray, Prior, Spread, posterior
from pytest_vllmperf.stats.grid import ENGINE_SDS, GRID, SESSION_SDS, likelihood, weights
from tests.stats.conftest import drawn, spread_of

priors = st.builds(
    Prior,
    engine_sd=st.floats(0.002, 0.05),
    engine_spread=st.floats(0.1, 1.0),
    session_sd=st.floats(0.002, 0.05),
    session_spread=st.floats(0.1, 1.0),
    floor=st.floats(0.0003, 0.004),
    correlation=st.floats(-0.9, 0.9),
)


def seen(
    engine: float, engine_df: float, session: float = 0.0, session_df: float = 0.0, share: float = 1 / 3
) -> Spread:
    """The mean squares of one metric, from its standard deviations."""
    return Spread(*(np.array([one]) for one in (engine**2, engine_df, session**2, session_df, share)))


def medians(joint: FloatArray) -> tuple[float, float]:
    """Of engine and session, the geometric mean under these weights."""
    table = joint.reshape(len(ENGINE_SDS), len(SESSION_SDS))
    return (
        float(np.exp(table.sum(axis=1) @ np.log(ENGINE_SDS))),
        float(np.exp(table.sum(axis=0) @ np.log(SESSION_SDS))),
    )


@given(priors)
def test_the_prior_is_a_distribution_above_its_floor(prior: Prior) -> None:
    joint = weights(prior)
    assert joint.shape == (len(ENGINE_SDS), len(SESSION_SDS))
    assert joint.min() >= 0
    assert joint.sum() == pytest.approx(1)
    assert joint[prior.floor > ENGINE_SDS].sum() == 0
    assert joint[:, prior.floor > SESSION_SDS].sum() == 0


def test_what_lies_below_the_floor_counts_as_the_floor() -> None:
    prior = replace(WALL_CLOCK, engine_sd=0.001, engine_spread=1.0)
    free, floored = weights(replace(prior, floor=1e-9)), weights(replace(prior, floor=0.001))
    first = int((ENGINE_SDS < 0.001).sum())
    assert first > 5
    assert floored.sum(axis=1)[first] == pytest.approx(free.sum(axis=1)[: first + 1].sum())
    assert floored.sum(axis=1)[first + 1 :] == pytest.approx(free.sum(axis=1)[first + 1 :])


@given(priors)
def test_the_medians_are_those_of_the_prior(prior: Prior) -> None:
    narrow = replace(prior, engine_spread=0.2, session_spread=0.2, floor=0.0003, engine_sd=0.01, session_sd=0.012)
    assert medians(weights(narrow)) == pytest.approx((0.01, 0.012), rel=0.03)


def test_a_few_metrics_are_like_no_other() -> None:
    """Beyond four spreads a log-normal alone has 6 in 100,000."""
    joint = weights(replace(WALL_CLOCK, engine_spread=0.3)).sum(axis=1)
    far = np.abs(np.log(ENGINE_SDS / WALL_CLOCK.engine_sd)) > 4 * 0.3
    assert 3e-4 < joint[far].sum() < 3e-3


def test_without_data_the_prior_is_believed() -> None:
    found = posterior(seen(0.0, 0.0), WALL_CLOCK)
    assert found.shape == (1, GRID)
    assert found[0] == pytest.approx(weights(WALL_CLOCK).ravel())


@pytest.mark.parametrize(("correlation", "follows"), [(0.8, True), (0.0, False)])
def test_a_test_with_noisy_engines_is_believed_to_have_noisy_sessions(correlation: float, follows: bool) -> None:
    prior = replace(WALL_CLOCK, correlation=correlation)
    quiet, usual, loud = (medians(posterior(seen(sd, 40), prior)[0])[1] for sd in (0.006, 0.015, 0.04))
    if follows:
        assert quiet < 0.7 * usual < usual < 0.7 * loud
    else:
        # Stray metrics stray both ways, which moves the session a little.
        assert quiet == pytest.approx(usual, rel=0.15)
        assert loud == pytest.approx(usual, rel=0.15)


@pytest.mark.parametrize(("session_sd", "engine_sd"), [(0.01, 0.03), (0.04, 0.01), (0.02, 0.02), (0.002, 0.003)])
def test_standard_deviations_are_recovered_from_many_sessions(session_sd: float, engine_sd: float) -> None:
    values = drawn(np.random.default_rng(3), 50, 200, 3, session_sd, engine_sd)
    found = posterior(spread_of(values), WALL_CLOCK).mean(axis=0)
    assert medians(found) == pytest.approx((engine_sd, session_sd), rel=0.11)


def test_engine_noise_is_taken_off_what_sessions_vary_by() -> None:
    """Sessions of three engines of 3 % vary by 1.7 % where sessions add nothing."""
    session_sd = [
        medians(posterior(seen(0.03, 400, 0.03 / 3**0.5, 200, share), WALL_CLOCK)[0])[1] for share in (1 / 3, 0)
    ]
    assert session_sd[0] < 0.009
    assert session_sd[1] == pytest.approx(0.03 / 3**0.5, rel=0.1)


def test_the_more_is_seen_the_less_the_prior_counts() -> None:
    found = [medians(posterior(seen(0.004, df), WALL_CLOCK)[0])[0] for df in (0.0, 2.0, 10.0, 100.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(0.015, rel=0.02)
    assert found[-1] == pytest.approx(0.004, rel=0.05)


@given(st.floats(0.0, 0.5), st.floats(0.0, 100.0), st.floats(0.0, 0.5), st.floats(0.0, 50.0))
def test_every_posterior_is_a_distribution(engine: float, engine_df: float, session: float, session_df: float) -> None:
    spread = seen(engine, engine_df, session, session_df)
    assert likelihood(spread).max() == pytest.approx(1)
    found = posterior(spread, WALL_CLOCK)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
