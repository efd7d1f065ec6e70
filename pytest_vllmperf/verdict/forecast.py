"""How many sessions a baseline needs until a change as large as the margin stands out of its noise."""

from __future__ import annotations

import numpy as np

from pytest_vllmperf.records.samples import MOST_SESSIONS
from pytest_vllmperf.stats import (
    ANCHOR_SESSIONS,
    Effects,
    FloatArray,
    NoiseModel,
    against_centre,
    expected_spread,
    new_engines,
    posterior_in_modes,
    predict,
)
from pytest_vllmperf.verdict.rule import RuleSettings


def sessions_to_test(model: NoiseModel, log_margin: FloatArray, settings: RuleSettings) -> list[int | None]:
    """For each of B metrics the stored sessions after which its margin can be told from noise; None for never.

    The present sessions count. It is expected, not certain: the noise is taken to be what is believed now.
    """
    now = predict(model.weights, against_centre(model, settings.max_engines)).reach(1 - settings.a_fail)
    found: list[int | None] = [model.sessions if testable else None for testable in now <= log_margin]
    for sessions in range(model.sessions + 1, MOST_SESSIONS + 1):
        if None not in found:
            break
        reach = _reach(model, sessions, settings)
        for row in np.flatnonzero(reach <= log_margin):
            found[row] = sessions if found[row] is None else found[row]
    return found


def _reach(model: NoiseModel, sessions: int, settings: RuleSettings) -> FloatArray:
    """What a difference is not beyond by chance, with so many sessions like those."""
    anchor = min(sessions, ANCHOR_SESSIONS)
    by_engine = float(np.mean(1 / np.array(model.layout))) / anchor
    effects = Effects(1 + 1 / anchor, new_engines(model, settings.max_engines) + by_engine)
    weights = posterior_in_modes(expected_spread(model, sessions), settings.prior, model.multimodal)
    return predict(weights, effects).reach(1 - settings.a_fail)
