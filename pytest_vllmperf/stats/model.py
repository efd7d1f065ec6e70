"""The noise model of a baseline: sessions, and engines within sessions, as random effects with uncertain variances.

The level is anchored to the first sessions since the last update, so that it does not follow what it is to judge. Any
question about new engines is a weighted sum of session and engine effects; what it varies by where nothing changed is
predicted by a mixture of normal distributions, one for each pair of standard deviations of `grid`.
New engines are located by the Hodges-Lehmann estimate, which keeps more power than the median, except three of them:
there it is half carried by a single wild engine, and the median is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from pytest_vllmperf.stats.grid import ENGINE_SDS, SESSION_SDS, posterior
from pytest_vllmperf.stats.prior import Prior
from pytest_vllmperf.stats.quantiles import normal_exceeded, normal_quantile
from pytest_vllmperf.stats.robust import BoolArray, FloatArray, hodges_lehmann, hodges_lehmann_variance
from pytest_vllmperf.stats.samples import EngineTable
from pytest_vllmperf.stats.spread import Spread, anchored, observe, usual_session_sd

ANCHOR_SESSIONS: Final = 5
"""The level is that of so many sessions, the first since the last update. They are never dropped."""

_ACCIDENT_SDS: Final = 6.0
_MODAL_SPREAD: Final = 2.0

# Variance of the median of three standard normal values: 1 - sqrt(3) / pi.
_MEDIAN_OF_THREE: Final = 0.4487

_ENGINE_VARIANCES: Final = np.repeat(ENGINE_SDS**2, len(SESSION_SDS))
_SESSION_VARIANCES: Final = np.tile(SESSION_SDS**2, len(ENGINE_SDS))

# Distances at which the predictive distribution is tabulated, log units.
_DISTANCES: Final = np.concatenate([[0.0], np.geomspace(1e-4, 2.0, 56)])


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """What B baselines of one layout say about the next engines. Arrays have shape (B,), log units.

    centre: the level that new engines are compared with.
    sessions_at: shape (B, K), the level of each stored session.
    weights: shape (B, GRID), of the pairs of standard deviations.
    multimodal: the engines fall into groups; levels were taken without pulling anything in.
    layout: engines per session. gap: position of the first session after dropped ones, and how many were dropped.
    """

    centre: FloatArray
    sessions_at: FloatArray
    weights: FloatArray
    multimodal: BoolArray
    layout: tuple[int, ...]
    gap: tuple[int, int] | None = None

    @property
    def sessions(self) -> int:
        """Stored sessions, K."""
        return len(self.layout)

    @property
    def engines(self) -> int:
        """Stored engines, N."""
        return sum(self.layout)

    @property
    def session_sd(self) -> FloatArray:
        """Between sessions, the median of what is believed."""
        return np.asarray(np.exp(self.weights @ np.log(_SESSION_VARIANCES) / 2), dtype=np.float64)

    @property
    def engine_sd(self) -> FloatArray:
        """Between engines of a session, their iterations included."""
        return engine_sd(self.weights)


def engine_sd(weights: FloatArray) -> FloatArray:
    """The median of what is believed of the engine's standard deviation, (B,), from weights of shape (B, GRID)."""
    return np.asarray(np.exp(weights @ np.log(_ENGINE_VARIANCES) / 2), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Effects:
    """What a difference is made of: so many session variances, and so many engine variances, a number or (B,)."""

    session: float
    engine: FloatArray | float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Spread to expect of a difference where nothing changed.

    sd: shape (B,), root of the mean variance, log units. scores: shape (B, distances), normal scores of the chance
    that the difference exceeds each of the tabulated distances.
    """

    sd: FloatArray
    scores: FloatArray

    def reach(self, probability: float) -> FloatArray:
        """The distance that is not exceeded with this probability (0.5 or more), shape (B,), log units."""
        wanted = normal_quantile(probability)
        above = np.minimum((self.scores < wanted).sum(axis=1), len(_DISTANCES) - 1)
        rows = np.arange(len(self.scores))
        low, high = self.scores[rows, above - 1], self.scores[rows, above]
        left, right = _DISTANCES[above - 1], _DISTANCES[above]
        share = np.clip((wanted - low) / np.maximum(high - low, 1e-12), 0, None)
        return np.asarray(np.where(above == 0, 0.0, left + share * (right - left)), dtype=np.float64)


def fit(table: EngineTable, prior: Prior, gap: tuple[int, int] | None = None) -> NoiseModel:
    """Fit the random-effects model.

    Args:
        table: engine values of B baselines.
        prior: hyperparameters of their class.
        gap: position of the first session after dropped ones, and how many were dropped; None without.
    """
    levels, spread = observe(table.values, table.layout, prior, gap)
    usual = usual_session_sd(prior, float(spread.share[0]))
    return NoiseModel(
        centre=anchored(levels.sessions[:, :ANCHOR_SESSIONS], usual),
        sessions_at=levels.sessions,
        weights=posterior_in_modes(spread, prior, levels.multimodal),
        multimodal=levels.multimodal,
        layout=table.layout,
        gap=gap,
    )


def posterior_in_modes(spread: Spread, prior: Prior, multimodal: BoolArray) -> FloatArray:
    """The posterior, (B, GRID); engines in groups are not what the class's prior describes, so it counts for less."""
    found = posterior(spread, prior)
    if multimodal.any():
        wide = replace(prior, engine_spread=_MODAL_SPREAD * prior.engine_spread)
        found = np.where(multimodal[:, np.newaxis], posterior(spread, wide), found)
    return found


def location(new: FloatArray, multimodal: BoolArray, engine_sd: FloatArray) -> FloatArray:
    """Where n new engines of one session lie: Hodges-Lehmann; three: median; multi-modal: mean.

    One engine of three or more that lies beyond 6 standard deviations is an accident of its start, and is left out; the
    Hodges-Lehmann estimate would still be moved by half a standard deviation.

    Args:
        new: shape (B, n), log units.
        multimodal: shape (B,), of the baseline.
        engine_sd: shape (B,), what engines vary by.
    """
    count = new.shape[1]
    robust = np.median(new, axis=1) if count == 3 else hodges_lehmann(new)
    if count >= 3:
        residuals = np.abs(new - np.median(new, axis=1, keepdims=True))
        nearest = np.take_along_axis(new, np.argsort(residuals, axis=1)[:, :-1], axis=1)
        apart = (residuals > _ACCIDENT_SDS * engine_sd[:, np.newaxis]).sum(axis=1) == 1
        robust = np.where(apart, hodges_lehmann(nearest), robust)
    return np.asarray(np.where(multimodal, new.mean(axis=1), robust), dtype=np.float64)


def location_variance(count: int) -> float:
    """eff(n): variance of the robust location of `count` engines, in units of one engine's variance."""
    return _MEDIAN_OF_THREE if count == 3 else hodges_lehmann_variance(count)


def new_engines(model: NoiseModel, count: int) -> FloatArray:
    """Engine variances in the location of `count` new engines, (B,)."""
    return np.asarray(np.where(model.multimodal, 1 / count, location_variance(count)), dtype=np.float64)


def against_centre(model: NoiseModel, count: int) -> Effects:
    """What (location of the new engines - centre) is made of, all new engines being of one new session.

    tau2_session (1 + 1/K) + tau2_engine (eff(n) + sum(1 / n_k) / K^2), over the K sessions of the anchor. Source:
    prediction intervals for random effects, Higgins, Thompson and Spiegelhalter, "A re-evaluation of random-effects
    meta-analysis", 2009; unequal sessions by unweighted means, Searle, Casella and McCulloch, "Variance components",
    1992.
    """
    anchor = np.array(model.layout[:ANCHOR_SESSIONS])
    by_engine = float(np.sum(1 / anchor)) / len(anchor) ** 2
    return Effects(1 + 1 / len(anchor), new_engines(model, count) + by_engine)


def predict(weights: FloatArray, effects: Effects) -> Prediction:
    """The predictive distribution of a difference made of these effects.

    Args:
        weights: shape (B, GRID).
        effects: numbers, or arrays of shape (B,) of few different values.
    """
    shares = np.broadcast_to(np.asarray(effects.engine, dtype=np.float64), (len(weights),))
    sd, scores = np.empty(len(weights)), np.empty((len(weights), len(_DISTANCES)))
    for share in np.unique(shares):
        rows = shares == share
        variances, tails = _tails(float(effects.session), float(share))
        sd[rows] = np.sqrt(weights[rows] @ variances)
        scores[rows] = -normal_quantile(np.clip(weights[rows] @ tails, 1e-300, 0.5))
    return Prediction(sd, scores)


@lru_cache(maxsize=64)
def _tails(by_session: float, by_engine: float) -> tuple[FloatArray, FloatArray]:
    """For each pair of standard deviations the variance of the difference, and its chances to exceed each distance."""
    variances = by_session * _SESSION_VARIANCES + by_engine * _ENGINE_VARIANCES
    return variances, normal_exceeded(_DISTANCES / np.sqrt(variances)[:, np.newaxis])


def detectable_change(prediction: Prediction, log_margin: FloatArray, a_fail: float, power: float) -> FloatArray:
    """Smallest true slowdown found with probability `power`, shape (B,), log units.

    The threshold (margin or noise, whichever is larger) plus the quantile of the power. Source: minimum
    detectable effects, Bloom, "Minimum detectable effects", 1995.
    """
    return np.maximum(log_margin, prediction.reach(1 - a_fail)) + prediction.reach(power)


def expected_spread(model: NoiseModel, sessions: int) -> Spread:
    """What a baseline of so many sessions like these is expected to show, if the noise is what is believed now."""
    engines = model.engines / model.sessions
    share = float(np.mean(1 / np.array(model.layout)))
    rows, count = len(model.centre), sessions - 1
    engine, session = model.engine_sd**2, model.session_sd**2
    df = 2 * count**2 / (3 * count - 1) if count else 0.0
    return Spread(
        engine, np.full(rows, sessions * (engines - 1)), session + share * engine, np.full(rows, df),
        np.full(rows, share),
    )  # fmt: skip
