"""How many sessions a baseline needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.records.samples import MOST_SESSIONS
from pytest_vllmperf.stats import WALL_CLOCK, FloatArray, NoiseModel, Prior, against_centre, fit, predict
from pytest_vllmperf.verdict import RuleSettings
from pytest_vllmperf.verdict.forecast import sessions_to_test
from tests.stats.conftest import QUIET, baselines, drawn

PROFILE = replace(WALL_CLOCK, engine_sd=0.004, engine_spread=0.6, session_sd=0.003, session_spread=0.6)
SUITE = RuleSettings(a_fail=0.00025, prior=PROFILE)


def model_of(sessions: int, prior: Prior = PROFILE, rows: int = 30, seed: int = 1) -> NoiseModel:
    return fit(baselines(drawn(np.random.default_rng(seed), rows, sessions, 3, 0.003, 0.004)), prior)


def fail_reach(model: NoiseModel, settings: RuleSettings) -> FloatArray:
    prediction = predict(model.weights, against_centre(model, settings.max_engines))
    return prediction.reach(1 - settings.a_fail)


@pytest.mark.parametrize("sessions", [1, 3, 5, 12])
def test_what_is_testable_needs_no_more_sessions_and_all_else_needs_more(sessions: int) -> None:
    model = model_of(sessions)
    reach = fail_reach(model, SUITE)
    assert sessions_to_test(model, reach * 1.001, SUITE) == [sessions] * 30
    for needed in sessions_to_test(model, reach * 0.999, SUITE):
        assert needed is None or sessions < needed <= MOST_SESSIONS


def test_a_baseline_of_one_session_is_told_how_many_cure_it() -> None:
    needed = sessions_to_test(model_of(1), np.full(30, 0.025), SUITE)
    assert None not in needed
    assert 2 <= min(n for n in needed if n) <= max(n for n in needed if n) <= 10
    smaller = sessions_to_test(model_of(1), np.full(30, 0.02), SUITE)
    assert all(b is None or (a is not None and a <= b) for a, b in zip(needed, smaller, strict=True))


def test_the_forecast_comes_true() -> None:
    """Of baselines like these, about half are testable after as many sessions."""
    margin = np.full(200, 0.022)
    needed = sessions_to_test(model_of(1, rows=200), margin, SUITE)
    told = int(np.median([one for one in needed if one is not None]))
    assert 2 < told < 10
    later = fail_reach(model_of(told + 1, rows=200, seed=2), SUITE) <= margin
    earlier = fail_reach(model_of(1, rows=200, seed=2), SUITE) <= margin
    assert later.mean() > 0.6 > 0.1 > earlier.mean()


def test_a_margin_within_the_noise_itself_is_never_testable() -> None:
    assert sessions_to_test(model_of(2), np.full(30, 0.004), SUITE) == [None] * 30
    assert sessions_to_test(model_of(MOST_SESSIONS + 5), np.full(30, 0.004), SUITE) == [None] * 30


def test_each_metric_has_its_own_forecast() -> None:
    quiet, loud = (drawn(np.random.default_rng(3), 1, 1, 3, sd, sd) for sd in (0.001, 0.05))
    model = fit(baselines(np.concatenate([quiet, loud])), WALL_CLOCK)
    rule = RuleSettings()
    first, second = sessions_to_test(model, np.full(2, 0.06), rule)
    assert first is not None
    assert second is None or second > first


def test_a_quiet_profile_needs_fewer() -> None:
    margin = np.full(30, 0.02)
    assert set(sessions_to_test(model_of(1, QUIET), margin, RuleSettings(prior=QUIET))) == {1}
    wall = sessions_to_test(model_of(1, WALL_CLOCK), margin, RuleSettings())
    assert all(one is None or one > 1 for one in wall)
