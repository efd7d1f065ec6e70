"""How far engines and sessions of a baseline lie apart: its two mean squares, with what accidents add taken out.

* Engine values are compared with their session's median and pulled in to a few standard deviations, so that one wild
  start does not become the noise of all. Where they come in groups, nothing is pulled in.
* The session variance is half the mean square of successive differences. A level that creeps moves it little, while a
  variance around the mean would take the creeping for noise, and never report it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_vllmperf.stats.prior import Prior
from pytest_vllmperf.stats.robust import BoolArray, FloatArray, is_multimodal, mad

CLIP_SDS: Final = 3.5
"""How many standard deviations a value may lie from the middle before it is pulled in."""
_MAD_TO_SD: Final = 1.4826
_FEW_SESSIONS: Final = 3
_MODAL_FLOOR: Final = 5 / 3


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean squares of B metrics; arrays of shape (B,), log units squared.

    engine: between engines of a session, with engine_df degrees of freedom; its expectation is tau2_engine.
    session: of session means, with session_df; its expectation is tau2_session + share tau2_engine.
    share: the mean of 1 / engines over the sessions.
    """

    engine: FloatArray
    engine_df: FloatArray
    session: FloatArray
    session_df: FloatArray
    share: FloatArray


@dataclass(frozen=True, slots=True)
class Levels:
    """Where sessions lie, B metrics.

    sessions: shape (B, K), session means without the excess of wild engines, log units.
    multimodal: shape (B,), whether the engines come in groups.
    """

    sessions: FloatArray
    multimodal: BoolArray


def observe(
    values: FloatArray, layout: tuple[int, ...], prior: Prior, gap: tuple[int, int] | None
) -> tuple[Levels, Spread]:
    """Session levels and mean squares.

    Source: the hierarchy and its mean squares, Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013;
    successive differences and their degrees of freedom, von Neumann, "Distribution of the ratio of the mean square
    successive difference to the variance", 1941.

    Args:
        values: shape (B, N), engine values, engines of a session are neighbours.
        layout: engines per session.
        prior: says what a usual distance is.
        gap: position of the first session after sessions that are not there any more, and how many; None without.
    """
    multimodal = is_multimodal(values, _MODAL_FLOOR * prior.engine_sd)
    tamed, means = _tame(values, layout, prior, multimodal)
    residuals = tamed - np.repeat(means, layout, axis=1)
    engine_df = values.shape[1] - len(layout)
    engine = (residuals**2).sum(axis=1) / max(engine_df, 1)
    share = float(np.mean(1 / np.array(layout)))
    session, session_df = _successive(means, usual_session_sd(prior, share), None if gap is None else gap[0])
    rows = len(values)
    spread = Spread(engine, np.full(rows, float(engine_df)), session, np.full(rows, session_df), np.full(rows, share))
    return Levels(means, multimodal), spread


def usual_session_sd(prior: Prior, share: float) -> float:
    """The standard deviation of a session's level that is still usual in this class."""
    session, engine = prior.session_sd * np.exp(prior.session_spread), prior.engine_sd * np.exp(prior.engine_spread)
    return float(np.sqrt(session**2 + share * engine**2))


def _tame(
    values: FloatArray, layout: tuple[int, ...], prior: Prior, multimodal: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Engine values with wild ones pulled in towards the median of their session, and the session means of these."""
    sizes = np.array(layout)
    starts = np.cumsum(sizes) - sizes
    middles = np.empty((len(values), len(layout)))
    for size in np.unique(sizes):
        columns = starts[sizes == size][:, np.newaxis] + np.arange(size)
        middles[:, sizes == size] = np.median(values[:, columns], axis=2)
    centres = np.repeat(middles, layout, axis=1)
    residuals = values - centres
    usual = prior.engine_sd * float(np.exp(prior.engine_spread))
    # A session's median is one of its values, so that the residuals are too small by this.
    seen = _MAD_TO_SD * np.sqrt(values.shape[1] / max(values.shape[1] - len(layout), 1)) * mad(residuals)
    limit = CLIP_SDS * np.maximum(seen, usual)[:, np.newaxis]
    tamed = np.where(multimodal[:, np.newaxis], values, centres + np.clip(residuals, -limit, limit))
    return tamed, np.add.reduceat(tamed, starts, axis=1) / sizes


def _successive(means: FloatArray, usual: float, gap: int | None) -> tuple[FloatArray, float]:
    """Half the mean square of successive differences, (B,), and its degrees of freedom.

    One session apart from all others makes two large differences; they are pulled in. Where two sessions or more lie
    apart, nothing is.
    """
    differences = np.diff(means, axis=1)
    if gap is not None:
        differences = np.delete(differences, gap - 1, axis=1)
    count = differences.shape[1]
    if count == 0:
        return np.zeros(len(means)), 0.0
    if means.shape[1] == _FEW_SESSIONS and gap is None:
        # Of three, the mean square around the mean has more degrees of freedom, and there is no trend to keep out.
        middle = np.median(means, axis=1, keepdims=True)
        limit = CLIP_SDS * np.maximum(_MAD_TO_SD * mad(means - middle), usual)[:, np.newaxis]
        pulled = middle + np.clip(means - middle, -limit, limit)
        return pulled.var(axis=1, ddof=1), float(_FEW_SESSIONS - 1)
    if means.shape[1] >= _FEW_SESSIONS:
        # One session apart makes the two largest: they say nothing of how large the others usually are. Three
        # differences are too few to leave two of them out.
        others = np.sort(np.abs(differences), axis=1)[:, : count - 2 if count > 3 else count]
        seen = _MAD_TO_SD / np.sqrt(2) * np.median(others, axis=1)
        limit = CLIP_SDS * np.sqrt(2) * np.maximum(seen, usual)[:, np.newaxis]
        apart = is_multimodal(means, CLIP_SDS * usual)[:, np.newaxis]
        differences = np.where(apart, differences, np.clip(differences, -limit, limit))
    df = 2 * count**2 / (3 * count - 1)
    return (differences**2).sum(axis=1) / (2 * count), df


def anchored(sessions: FloatArray, usual: float) -> FloatArray:
    """The level of the sessions that a baseline is anchored to, (B,): their mean, each pulled in towards the median.

    Args:
        sessions: shape (B, K), their means.
        usual: standard deviation of a session's level that is still usual.
    """
    if sessions.shape[1] < _FEW_SESSIONS:
        return np.asarray(sessions.mean(axis=1), dtype=np.float64)
    middle = np.median(sessions, axis=1, keepdims=True)
    residuals = sessions - middle
    limit = CLIP_SDS * np.maximum(_MAD_TO_SD * mad(residuals), usual)[:, np.newaxis]
    return np.asarray(middle[:, 0] + np.clip(residuals, -limit, limit).mean(axis=1), dtype=np.float64)
