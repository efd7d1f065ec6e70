"""A level that creeps: small losses from session to session, none of which is a regression, on arrays.

Questions are asked beside the regression's own. What has a straight line through all sessions lost from the first of
them to the new one? It sees a decline that began with the first session, and so moved the anchor itself. How far do the
last four sessions lie from the anchor? They average noise away. And how far has the new session jumped from those
before it? A level that had improved since the anchor, within the margin, would hide a regression of up to two margins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_vllmperf.stats import ANCHOR_SESSIONS, BoolArray, Effects, FloatArray, NoiseModel, new_engines, predict

RECENT_SESSIONS: Final = 3
"""Stored sessions that count as the recent ones, the new one not among them."""
# Of fewer, one aberrant first session would look like a decline.
_TREND_SESSIONS: Final = 4
# The new session must have lost at least this share of the margin itself: what was mended has not crept.
LEAST_SHARE: Final = 0.5
TREND, RECENT, JUMP = "trend", "recent", "jump"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of the questions found, B metrics; arrays of shape (B,), log units, larger is worse.

    question: TREND, RECENT or JUMP. loss: what was lost by it. reach: what the loss is not beyond by chance, at
    1 - a_drift.
    """

    question: str
    loss: FloatArray
    reach: FloatArray


@dataclass(frozen=True, slots=True)
class Creep:
    """What crept, B metrics; arrays of shape (B,), log units, larger is worse.

    found: whether a decline is beyond the margin and beyond chance. loss: the larger of the two losses.
    jump: of the new session against the recent ones; a jump beyond the margin is a regression, whatever crept before.
    before: of the recent stored sessions against the anchor; how much of the loss was there before the new session.
    far_jump: whether the new session lies beyond the margin from the recent ones, and these are not the anchor's.
    jumped: whether that is beyond chance too. answers: of the questions that were asked.
    """

    found: BoolArray
    loss: FloatArray
    jump: FloatArray
    before: FloatArray
    far_jump: BoolArray
    jumped: BoolArray
    answers: tuple[Answer, ...] = ()


def creep(model: NoiseModel, at: FloatArray, count: int, log_margin: FloatArray, a_drift: float) -> Creep:
    """Look for a decline since the last update.

    Args:
        model: B baselines.
        at: shape (B,), where the new engines lie.
        count: how many they are.
        log_margin: shape (B,), positive.
        a_drift: chance that each of the questions is answered wrongly where nothing changed.
    """
    stored = model.sessions_at
    recent = stored[:, -RECENT_SESSIONS:].mean(axis=1)
    far = at - model.centre > LEAST_SHARE * log_margin
    loss, found = np.zeros(len(at)), np.zeros(len(at), dtype=np.bool_)
    far_jump, jumped = np.zeros(len(at), dtype=np.bool_), np.zeros(len(at), dtype=np.bool_)
    answers = []
    for question, coefficients in _questions(model).items():
        own, others = coefficients[-1], coefficients[:-1]
        lost = stored @ others + own * at
        reach = predict(model.weights, _effects(model, coefficients, count)).reach(1 - a_drift)
        beyond = (lost > log_margin) & (lost > reach)
        if question == JUMP:
            far_jump, jumped = lost > log_margin, beyond
        else:
            loss, found = np.maximum(loss, lost), found | (beyond & far)
        answers.append(Answer(question, lost, reach))
    return Creep(found, loss, at - recent, recent - model.centre, far_jump, jumped, tuple(answers))


def _questions(model: NoiseModel) -> dict[str, FloatArray]:
    """Coefficients of the stored sessions and of the new one, in each of the losses that is asked for."""
    asked = {}
    if model.sessions >= _TREND_SESSIONS:
        asked[TREND] = _trend(model)
    if model.sessions >= ANCHOR_SESSIONS + RECENT_SESSIONS:
        asked[RECENT] = _recent(model)
        asked[JUMP] = _jump(model)
    return asked


def _trend(model: NoiseModel) -> FloatArray:
    """A least-squares line's loss from the first session to the new one."""
    times = np.arange(model.sessions + 1, dtype=np.float64)
    if model.gap is not None:
        times[model.gap[0] :] += model.gap[1]
    centred = times - times.mean()
    return np.asarray((times[-1] - times[0]) * centred / (centred**2).sum(), dtype=np.float64)


def _recent(model: NoiseModel) -> FloatArray:
    """The mean of the recent sessions and the new one, less that of the anchor."""
    coefficients = np.zeros(model.sessions + 1)
    coefficients[:ANCHOR_SESSIONS] = -1 / ANCHOR_SESSIONS
    coefficients[-RECENT_SESSIONS - 1 :] = 1 / (RECENT_SESSIONS + 1)
    return coefficients


def _jump(model: NoiseModel) -> FloatArray:
    """The new session less the mean of the recent ones."""
    coefficients = np.zeros(model.sessions + 1)
    coefficients[-RECENT_SESSIONS - 1 : -1] = -1 / RECENT_SESSIONS
    coefficients[-1] = 1
    return coefficients


def _effects(model: NoiseModel, coefficients: FloatArray, count: int) -> Effects:
    """A session with coefficient c and n engines adds c^2 session variances and c^2 / n engine variances."""
    squares = coefficients**2
    stored = float((squares[:-1] / np.array(model.layout)).sum())
    return Effects(float(squares.sum()), stored + float(squares[-1]) * new_engines(model, count))
