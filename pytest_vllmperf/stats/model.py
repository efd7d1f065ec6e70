"""The noise model of a baseline: sessions, and engines within sessions, as random effects.

Several choices are left open by the rule and were settled by simulation (bench/simulate.py):

* Winsorising shrinks the variance; it is divided by what a normal variance would have kept.
* The session variance is a small difference of two noisy mean squares. It enters with the degrees of freedom
  that such a difference has, not with those of the mean square, or engine noise would pass for session noise.
* Where the engines are multi-modal, the variances are raw in that nothing is winsorised. They still meet the
  priors: without those, fewer than 75 % of the 10 % slowdowns would be found in a bimodal baseline.
* A pooled variance has the degrees of freedom of its two parts, the prior and the data, after Satterthwaite:
  fewer than their sum where the two disagree.
* New engines are located by the Hodges-Lehmann estimate, which keeps more power than the median, except three
  of them: there it is half carried by a single wild engine, and the median is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_vllmperf.stats.quantiles import chi_square_exceeded, t_quantile
from pytest_vllmperf.stats.robust import (
    BoolArray,
    FloatArray,
    hodges_lehmann,
    hodges_lehmann_variance,
    is_multimodal,
    winsorise,
    winsorised_count,
    winsorised_variance_share,
)
from pytest_vllmperf.stats.samples import EngineTable

ENGINE_PRIOR_SD: Final = 0.015
ENGINE_PRIOR_DF: Final = 4.0
SESSION_PRIOR_SD: Final = 0.010
SESSION_PRIOR_DF: Final = 3.0
FLOOR_SD: Final = 0.005

# Variance of the median of three standard normal values: 1 - sqrt(3) / pi.
_MEDIAN_OF_THREE: Final = 0.4487


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """What B baselines of one layout say about the next engines. Arrays have shape (B,), log units.

    centre: the level, the unweighted mean of the session means.
    session_variance, engine_variance: between sessions; between engines of a session, iterations included.
    session_df, engine_df: the degrees of freedom of the two.
    multimodal: the engines fall into groups; means and variances were taken without winsorising.
    layout: engines per session.
    """

    centre: FloatArray
    session_variance: FloatArray
    session_df: FloatArray
    engine_variance: FloatArray
    engine_df: FloatArray
    multimodal: BoolArray
    layout: tuple[int, ...]

    @property
    def sessions(self) -> int:
        """Stored sessions, K."""
        return len(self.layout)

    @property
    def engines(self) -> int:
        """Stored engines, N."""
        return sum(self.layout)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Spread of (location of the new engines - centre) where nothing changed. Arrays of shape (B,).

    sd: standard deviation, log units; df: its degrees of freedom.
    """

    sd: FloatArray
    df: FloatArray

    def reach(self, probability: float) -> FloatArray:
        """Student-t quantile times the standard deviation, shape (B,), log units."""
        return t_quantile(self.df, probability) * self.sd


def fit(table: EngineTable) -> NoiseModel:
    """Fit the random-effects model by moments, shrunk towards the priors.

    Source: the hierarchy and its mean squares, Kalibera and Jones, "Rigorous benchmarking in reasonable
    time", 2013; unbalanced sessions by unweighted means, Searle, Casella and McCulloch, "Variance
    components", 1992; shrinkage by a scaled inverse chi-squared prior, Gelman et al., "Bayesian data
    analysis".
    """
    multimodal = is_multimodal(table.values)
    values, kept = _tame(table.values, table.layout, multimodal)
    session_means = _session_means(values, table.layout)
    engine_variance, engine_df = _engine_component(table, values, session_means, kept)
    session_variance, session_df = _session_component(session_means, table.layout, engine_variance)
    return NoiseModel(
        centre=session_means.mean(axis=1),
        session_variance=session_variance,
        session_df=session_df,
        engine_variance=engine_variance,
        engine_df=engine_df,
        multimodal=multimodal,
        layout=table.layout,
    )


def _tame(values: FloatArray, layout: tuple[int, ...], multimodal: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Winsorise residuals from the session medians; also the share of the variance that this leaves, (B,).

    A session's median uses up one of its residuals, so the share is of the free ones.
    """
    count = winsorised_count(values.shape[1], len(layout))
    if count == 0:
        return values, np.ones(len(values))
    centres = np.empty_like(values)
    sizes = np.array(layout)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        columns = starts[sizes == size][:, np.newaxis] + np.arange(size)
        centres[:, columns] = np.median(values[:, columns], axis=2, keepdims=True)
    tamed = centres + winsorise(values - centres, count)
    left = winsorised_variance_share(count / (values.shape[1] - len(layout)))
    return np.where(multimodal[:, np.newaxis], values, tamed), np.where(multimodal, 1.0, left)


def _session_means(values: FloatArray, layout: tuple[int, ...]) -> FloatArray:
    sizes = np.array(layout)
    sums = np.add.reduceat(values, np.cumsum(sizes) - sizes, axis=1)
    return np.asarray(sums / sizes, dtype=np.float64)


def _engine_component(
    table: EngineTable, values: FloatArray, session_means: FloatArray, kept: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Variance between engines of a session, and its degrees of freedom, both of shape (B,).

    Source: pooled within-group mean square; the degrees of freedom of its average with the prior by
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946.
    """
    df = values.shape[1] - len(table.layout)
    residuals = values - np.repeat(session_means, table.layout, axis=1)
    from_prior = ENGINE_PRIOR_DF * (ENGINE_PRIOR_SD**2 + table.within)
    from_data = (residuals**2).sum(axis=1) / kept
    variance = (from_prior + from_data) / (ENGINE_PRIOR_DF + df)
    pooled = (from_prior + from_data) ** 2 / (from_prior**2 / ENGINE_PRIOR_DF + from_data**2 / max(df, 1))
    return np.maximum(variance, FLOOR_SD**2), pooled


def _session_component(
    session_means: FloatArray, layout: tuple[int, ...], engine_variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Variance between sessions, and its degrees of freedom, both of shape (B,).

    The mean square of session means expects tau2_session + tau2_engine h, h the mean of 1 / engines. What is
    left of its K - 1 degrees of freedom after subtracting the engine part follows Satterthwaite, 1946, at a
    session variance v: (K - 1) (v / (v + tau2_engine h))^2. That v is the prior, or the lower 99.9 % bound of
    the data where it is larger: sessions that differ beyond doubt are to be believed.
    """
    prior = SESSION_PRIOR_SD**2
    if len(layout) == 1:
        return np.full(len(session_means), prior), np.full(len(session_means), SESSION_PRIOR_DF)
    from_engines = engine_variance * float(np.mean(1 / np.array(layout)))
    free = len(layout) - 1
    mean_square = session_means.var(axis=1, ddof=1)
    estimate = np.maximum(mean_square - from_engines, 0)
    certain = np.maximum(mean_square * free / chi_square_exceeded(free, 0.001) - from_engines, prior)
    df = free * (certain / (certain + from_engines)) ** 2
    variance = (SESSION_PRIOR_DF * prior + df * estimate) / (SESSION_PRIOR_DF + df)
    return np.maximum(variance, FLOOR_SD**2), SESSION_PRIOR_DF + df


def location(new: FloatArray, multimodal: BoolArray) -> FloatArray:
    """Where n new engines of one session lie: Hodges-Lehmann; three: median; multi-modal: mean.

    Args:
        new: shape (B, n), log units.
        multimodal: shape (B,), of the baseline.
    """
    robust = np.median(new, axis=1) if new.shape[1] == 3 else hodges_lehmann(new)
    return np.asarray(np.where(multimodal, new.mean(axis=1), robust), dtype=np.float64)


def location_variance(count: int) -> float:
    """eff(n): variance of the robust location of `count` engines, in units of one engine's variance."""
    return _MEDIAN_OF_THREE if count == 3 else hodges_lehmann_variance(count)


def predict(model: NoiseModel, count: int) -> Prediction:
    """Spread to expect of `count` new engines, all of one new session, around the baseline's centre.

    V = tau2_session (1 + 1/K) + tau2_engine (eff(n) + 1/N). For unequal sessions N is K^2 / sum(1 / n_k),
    what an unweighted mean of session means amounts to. Source: prediction intervals for random effects,
    Higgins, Thompson and Spiegelhalter, "A re-evaluation of random-effects meta-analysis", 2009; degrees of
    freedom by Satterthwaite, 1946.
    """
    sessions = model.sessions
    engines = sessions**2 / float(np.sum(1 / np.array(model.layout)))
    eff = np.where(model.multimodal, 1 / count, location_variance(count))
    by_session = model.session_variance * (1 + 1 / sessions)
    by_engine = model.engine_variance * (eff + 1 / engines)
    variance = by_session + by_engine
    df = variance**2 / (by_session**2 / model.session_df + by_engine**2 / model.engine_df)
    return Prediction(np.sqrt(variance), df)


def detectable_change(prediction: Prediction, log_margin: FloatArray, a_fail: float, power: float) -> FloatArray:
    """Smallest true slowdown found with probability `power`, shape (B,), log units.

    The threshold (margin or noise, whichever is larger) plus the quantile of the power. Source: minimum
    detectable effects, Bloom, "Minimum detectable effects", 1995.
    """
    return np.maximum(log_margin, prediction.reach(1 - a_fail)) + prediction.reach(power)
