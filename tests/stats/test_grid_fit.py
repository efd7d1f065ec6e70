"""Hyperparameters of a class, fitted on simulated metrics whose own are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.stats import DEVICE_CLOCK, WALL_CLOCK, FloatArray, Prior, Spread, fit_prior, posterior
from pytest_vllmperf.stats.grid import ENGINE_SDS, SESSION_SDS
from tests.stats.conftest import drawn, spread_of


def sds(rng: np.random.Generator, metrics: int, prior: Prior) -> tuple[FloatArray, FloatArray]:
    """Session and engine standard deviations of metrics of a class."""
    one, other = rng.normal(size=(2, metrics))
    rho = prior.correlation
    session = prior.session_sd * np.exp(prior.session_spread * (rho * one + np.sqrt(1 - rho**2) * other))
    return session, prior.engine_sd * np.exp(prior.engine_spread * one)


def metrics(seed: int, count: int, prior: Prior, sessions: int = 10) -> Spread:
    rng = np.random.default_rng(seed)
    return spread_of(drawn(rng, count, sessions, 3, *sds(rng, count, prior)), prior)


QUIET = Prior(0.004, 0.5, 0.003, 0.4, floor=0.001, correlation=0.6)
UNLIKE = Prior(0.03, 0.3, 0.02, 0.6, floor=0.001, correlation=0.0)


@pytest.mark.parametrize("true", [QUIET, UNLIKE])
def test_a_class_is_recovered_from_its_metrics(true: Prior) -> None:
    found = fit_prior(metrics(1, 300, true), WALL_CLOCK, sessions=True)
    assert found.engine_sd == pytest.approx(true.engine_sd, rel=0.08)
    assert found.session_sd == pytest.approx(true.session_sd, rel=0.15)
    assert found.engine_spread == pytest.approx(true.engine_spread, abs=0.06)
    assert found.session_spread == pytest.approx(true.session_spread, abs=0.12)
    assert found.correlation == pytest.approx(true.correlation, abs=0.15)
    assert (found.floor, found.metrics, found.sessions) == (WALL_CLOCK.floor, 0, 0)


def test_one_metric_keeps_most_of_its_class() -> None:
    quiet = replace(WALL_CLOCK, engine_sd=0.003, session_sd=0.002, engine_spread=0.01, session_spread=0.01)
    found = fit_prior(metrics(2, 1, quiet), WALL_CLOCK, sessions=True)
    for name in ("engine_sd", "session_sd"):
        moved = np.log(getattr(WALL_CLOCK, name) / getattr(found, name))
        assert 0.1 < moved / np.log(getattr(WALL_CLOCK, name) / getattr(quiet, name)) < 0.5, name
    usual = fit_prior(metrics(2, 1, WALL_CLOCK), WALL_CLOCK, sessions=True)
    assert usual.engine_sd == pytest.approx(WALL_CLOCK.engine_sd, rel=0.15)
    assert usual.engine_spread == pytest.approx(WALL_CLOCK.engine_spread, rel=0.15)
    assert usual.session_sd == pytest.approx(WALL_CLOCK.session_sd, rel=0.2)
    assert usual.session_spread == pytest.approx(WALL_CLOCK.session_spread, rel=0.15)


def test_two_in_a_hundred_stray_metrics_do_not_widen_a_class() -> None:
    narrow = replace(QUIET, engine_spread=0.25, session_spread=0.25, correlation=0.3)
    rng = np.random.default_rng(4)
    session, engine = sds(rng, 300, narrow)
    session[:6] *= 20
    engine[:6] *= 20
    found = fit_prior(spread_of(drawn(rng, 300, 10, 3, session, engine)), WALL_CLOCK, sessions=True)
    assert found.engine_sd == pytest.approx(narrow.engine_sd, rel=0.1)
    assert found.session_sd == pytest.approx(narrow.session_sd, rel=0.15)
    plain = float(np.log(engine).std())
    assert plain > 0.45, "what the metrics' own spread is, strays included"
    assert found.engine_spread < 0.36
    assert found.correlation < 0.75


def believed_session_sd(prior: Prior, engine: float) -> float:
    """Of a metric whose engines are known, and of whose sessions nothing is."""
    seen = Spread(*(np.array([one]) for one in (engine**2, 200.0, 0.0, 0.0, 1 / 3)))
    by_session = posterior(seen, prior)[0].reshape(len(ENGINE_SDS), len(SESSION_SDS)).sum(axis=0)
    return float(np.exp(by_session @ np.log(SESSION_SDS)))


def test_too_few_sessions_keep_what_the_class_says_of_them() -> None:
    quiet = metrics(5, 100, replace(QUIET, correlation=0.0), sessions=1)
    found = fit_prior(quiet, WALL_CLOCK, sessions=False)
    assert found.engine_sd == pytest.approx(QUIET.engine_sd, rel=0.15)
    assert (found.session_sd, found.session_spread) == (WALL_CLOCK.session_sd, WALL_CLOCK.session_spread)
    for engine in (0.001, QUIET.engine_sd, WALL_CLOCK.engine_sd):
        assert believed_session_sd(found, engine) > 0.95 * WALL_CLOCK.session_sd, "quiet engines vouch for no session"


def test_where_engines_are_noisy_unknown_sessions_are_believed_to_be_noisy_too() -> None:
    loud = metrics(6, 100, replace(WALL_CLOCK, engine_sd=0.06), sessions=1)
    found = fit_prior(loud, WALL_CLOCK, sessions=False)
    assert found.engine_sd == pytest.approx(0.06, rel=0.1)
    ratio = believed_session_sd(found, 0.06) / WALL_CLOCK.session_sd
    assert ratio == pytest.approx(0.06 / WALL_CLOCK.engine_sd, rel=0.15)
    fitted = fit_prior(metrics(6, 100, replace(WALL_CLOCK, engine_sd=0.06)), WALL_CLOCK, sessions=True)
    assert fitted.follow == 0, "what was seen of sessions needs no such guess"
    assert believed_session_sd(fitted, 0.06) < 2 * WALL_CLOCK.session_sd


def test_a_class_far_from_its_first_guess_is_found() -> None:
    still = replace(
        WALL_CLOCK, engine_sd=0.0012, engine_spread=0.1, session_sd=0.0012, session_spread=0.1, floor=0.0003
    )
    found = fit_prior(metrics(8, 80, still), replace(WALL_CLOCK, floor=0.0003), sessions=True)
    assert found.engine_sd == pytest.approx(0.0012, rel=0.15)
    assert found.session_sd == pytest.approx(0.0012, rel=0.3)


def test_many_metrics_are_fitted_on_a_sample_of_them() -> None:
    every = metrics(7, 1500, QUIET, sessions=4)
    chosen = np.unique(np.linspace(0, 1499, 500).astype(int))
    sample = Spread(*(getattr(every, name)[chosen] for name in Spread.__slots__))
    assert fit_prior(every, WALL_CLOCK, sessions=True) == fit_prior(sample, WALL_CLOCK, sessions=True)


@pytest.mark.parametrize("start", [WALL_CLOCK, DEVICE_CLOCK], ids=["wall clock", "device clock"])
def test_a_large_class_without_any_noise_comes_to_its_floor(start: Prior) -> None:
    """So narrow a prior is zero, to a computer, in the far corners of the grid."""
    count = 500
    none, dfs = np.zeros(count), np.full(count, 6.0)
    found = fit_prior(Spread(none, dfs, none, dfs / 2, np.full(count, 1 / 3)), start, sessions=True)
    assert found.engine_sd == pytest.approx(max(start.floor, ENGINE_SDS[0]), rel=0.1)
    assert 0 < found.engine_spread < start.engine_spread
