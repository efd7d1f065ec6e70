"""The two standard deviations of a metric, as weights on a grid: prior times likelihood, and the prior's own fit.

A grid, and not a closed form. With inverse chi-squared priors (Smyth, "Linear models and empirical Bayes methods",
2004) the predictive distribution is Student's t, whose tails are heavy at the levels of a suite of 80 metrics: with 2 %
of unchanged runs red it finds 75 % of the slowdowns that the grid finds 85 % of (bench/closed_form.py). Standard
deviations of benchmarks vary by factors: log-normal priors say that, and have no closed form.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from pytest_vllmperf.stats.prior import Prior
from pytest_vllmperf.stats.robust import FloatArray
from pytest_vllmperf.stats.spread import Spread

ENGINE_SDS: Final = np.exp(np.linspace(np.log(0.0003), np.log(0.3), 50))
SESSION_SDS: Final = np.exp(np.linspace(np.log(0.0003), np.log(0.2), 26))
GRID: Final = len(ENGINE_SDS) * len(SESSION_SDS)

STRAY_SHARE: Final = 0.005
"""Share of metrics that are not like the others of their class; their standard deviations spread three times as far."""
_STRAY: Final = 3.0
# How many metrics of the class prior's kind a fit starts from: for the medians, and for spreads and correlation.
_PRIOR_METRICS: Final = 2.0
_PRIOR_SPREADS: Final = 4.0
_FIT_ROUNDS: Final = 30
_MOST_METRICS: Final = 500
"""So many metrics are fitted at most; more of them say nothing new, and cost memory."""
_LARGEST_CORRELATION: Final = 0.95

_LOG_ENGINE_SDS: Final = np.log(ENGINE_SDS)[:, np.newaxis]
_LOG_SESSION_SDS: Final = np.log(SESSION_SDS)


def weights(prior: Prior) -> FloatArray:
    """The prior on the grid, shape (engine sds, session sds), summing to 1; what lies below its floor counts as it."""
    usual, stray = _densities(prior)
    return _floored(usual + stray, prior.floor)


def _floored(joint: FloatArray, floor: float) -> FloatArray:
    """Densities that sum to 1, with those below the floor added to the first that is not; changes what it is given."""
    engines, sessions = int(np.searchsorted(ENGINE_SDS, floor)), int(np.searchsorted(SESSION_SDS, floor))
    joint[engines] += joint[:engines].sum(axis=0)
    joint[:engines] = 0
    joint[:, sessions] += joint[:, :sessions].sum(axis=1)
    joint[:, :sessions] = 0
    joint /= joint.sum()
    return joint


def _densities(prior: Prior) -> tuple[FloatArray, FloatArray]:
    """Of metrics like the others, and of stray ones; shape (engine sds, session sds) each."""
    engine = (_LOG_ENGINE_SDS - np.log(prior.engine_sd)) / prior.engine_spread
    session = (_LOG_SESSION_SDS - _session_medians(prior)) / prior.session_spread
    rho = prior.correlation
    distance = (engine**2 - 2 * rho * engine * session + session**2) / (1 - rho**2)
    usual = (1 - STRAY_SHARE) * np.exp(-distance / 2)
    # The stray ones are as wide in both ways, so their density is lower by the square.
    return usual, STRAY_SHARE / _STRAY**2 * np.exp(-distance / 2 / _STRAY**2)


def _session_medians(prior: Prior) -> FloatArray:
    """Logarithm of the session sd's median for each engine sd, shape (engine sds, 1)."""
    medians = np.full_like(_LOG_ENGINE_SDS, np.log(prior.session_sd))
    if prior.follow:
        medians = medians + np.maximum(_LOG_ENGINE_SDS - np.log(prior.follow), 0.0)
    return medians


def likelihood(spread: Spread) -> FloatArray:
    """Of each pair of standard deviations, shape (B, engine sds, session sds); the largest of a metric is 1.

    A mean square S with f degrees of freedom and expectation v has the log-likelihood -f/2 (log v + S / v).
    """
    engine_variance = ENGINE_SDS**2
    by_engine = _log_likelihood(spread.engine[:, np.newaxis], spread.engine_df[:, np.newaxis], engine_variance)
    logs = np.broadcast_to(by_engine[:, :, np.newaxis], (len(by_engine), len(ENGINE_SDS), len(SESSION_SDS)))
    if spread.session_df.any():
        variance = SESSION_SDS**2 + (spread.share[:, np.newaxis] * engine_variance)[:, :, np.newaxis]
        mean_square, df = spread.session[:, np.newaxis, np.newaxis], spread.session_df[:, np.newaxis, np.newaxis]
        logs = logs + _log_likelihood(mean_square, df, variance)
    return np.asarray(np.exp(logs - logs.max(axis=(1, 2), keepdims=True)), dtype=np.float64)


def _log_likelihood(mean_square: FloatArray, df: FloatArray, variance: FloatArray) -> FloatArray:
    return np.asarray(-df / 2 * (np.log(variance) + mean_square / variance), dtype=np.float64)


def posterior(spread: Spread, prior: Prior) -> FloatArray:
    """Weights of the grid's pairs, shape (B, GRID), each row summing to 1; engines vary slowest."""
    joint = likelihood(spread) * weights(prior)
    joint = joint.reshape(len(joint), GRID)
    joint /= joint.sum(axis=1, keepdims=True)
    return joint


def fit_prior(spread: Spread, start: Prior, *, sessions: bool) -> Prior:
    """The hyperparameters that make what B metrics show most likely, drawn a little towards `start`.

    Expectation maximisation on the grid. A class with one or two metrics keeps most of `start`. Source: empirical
    Bayes for variances, Smyth, 2004; robust to metrics of another kind, Phipson et al., "Robust hyperparameter
    estimation protects against hypervariable genes", 2016.

    Args:
        spread: of all metrics of a class.
        start: the class's own prior.
        sessions: whether the sessions are to be fitted too; else those of `start` stay.
    """
    chosen = np.unique(np.linspace(0, len(spread.engine) - 1, min(len(spread.engine), _MOST_METRICS)).astype(int))
    spread = Spread(*(getattr(spread, name)[chosen] for name in Spread.__slots__))
    seen = likelihood(spread)
    fitted = _first_guess(spread, start)
    for _ in range(_FIT_ROUNDS):
        fitted = _improved(seen, fitted, start, sessions=sessions)
    return fitted


def _first_guess(spread: Spread, start: Prior) -> Prior:
    """The class's prior at the median of what is observed: from far away every metric would look like a stray one."""
    known = spread.engine_df > 0
    if not known.any():
        return start
    engine_sd = float(np.sqrt(np.median(spread.engine[known])))
    return replace(start, engine_sd=float(np.clip(engine_sd, start.floor, ENGINE_SDS[-1])))


def _improved(seen: FloatArray, fitted: Prior, start: Prior, *, sessions: bool) -> Prior:
    """One round: the moments of the two logarithms over all metrics, weighted by what each shows."""
    usual, stray = _densities(fitted)
    density = usual + stray
    ordinary = np.divide(usual, density, out=np.zeros_like(usual), where=density > 0)  # far away both are zero
    prior = _floored(density, fitted.floor)
    # No array of the size of `seen` is made, and no thread is started, which costs more than sums as short as these.
    by_metric = seen.reshape(len(seen), GRID)
    chances = np.einsum("mg,g->m", by_metric, prior.ravel())
    shares = np.einsum("m,mg->g", 1 / chances, by_metric).reshape(prior.shape) * prior * ordinary
    count = float(shares.sum())
    by_engine, by_session = shares.sum(axis=1), shares.sum(axis=0)
    engine_at, engine_spread = _moments(_LOG_ENGINE_SDS[:, 0], by_engine, start.engine_sd, start.engine_spread)
    fitted = replace(fitted, engine_sd=float(np.exp(engine_at)), engine_spread=engine_spread)
    if not sessions:
        # Noisy engines make noisy sessions probable; quiet ones say nothing of sessions that nobody has seen.
        return replace(fitted, session_sd=start.session_sd, correlation=0.0, follow=start.engine_sd)
    session_at, session_spread = _moments(_LOG_SESSION_SDS, by_session, start.session_sd, start.session_spread)
    product = float((shares * (_LOG_ENGINE_SDS - engine_at) * (_LOG_SESSION_SDS - session_at)).sum())
    product += _PRIOR_SPREADS * start.correlation * start.engine_spread * start.session_spread
    correlation = product / ((_PRIOR_SPREADS + count) * engine_spread * session_spread)
    return replace(
        fitted,
        session_sd=float(np.exp(session_at)),
        session_spread=session_spread,
        correlation=float(np.clip(correlation, -_LARGEST_CORRELATION, _LARGEST_CORRELATION)),
    )


def _moments(logs: FloatArray, shares: FloatArray, median: float, spread: float) -> tuple[float, float]:
    """Mean and standard deviation of logarithms with these weights; the class's own count as some metrics more."""
    count = float(shares.sum())
    centre = (_PRIOR_METRICS * np.log(median) + float((shares * logs).sum())) / (_PRIOR_METRICS + count)
    squares = float((shares * (logs - centre) ** 2).sum())
    variance = (_PRIOR_SPREADS * spread**2 + squares) / (_PRIOR_SPREADS + count)
    return float(centre), float(np.sqrt(variance))
