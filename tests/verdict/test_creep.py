"""A level that creeps from session to session, by less than a margin each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import WALL_CLOCK, FloatArray, NoiseModel, Prior, fit
from pytest_vllmperf.verdict import CODES, STATUSES, RuleSettings, look
from pytest_vllmperf.verdict.creep import creep
from tests.stats.conftest import QUIET, baselines, drawn, known_model

MARGIN = 0.05


def status_of(model: NoiseModel, new: float, count: int = 3) -> Status:
    outcome = look(model, np.full((1, count), new), np.array([MARGIN]), RuleSettings())
    return STATUSES[int(outcome.codes[0])]


def line(slope: float, sessions: int, **noise: float) -> NoiseModel:
    """A quiet baseline that lost `slope` from each session to the next."""
    levels = slope * np.arange(sessions)[np.newaxis]
    return known_model(levels, **{"engine_sd": 0.0025, "session_sd": 0.002, **noise})


# --- a decline ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0015, 0.003, 0.006, 0.012])
def test_a_steady_decline_has_drifted_once_it_is_beyond_the_margin_and_not_before(slope: float) -> None:
    statuses = [status_of(line(slope, sessions), slope * sessions) for sessions in range(1, 50)]
    beyond = int(MARGIN / slope)  # so many sessions later the loss is within the margin for the last time
    assert not {Status.DRIFTED, Status.REGRESSED} & set(statuses[:beyond])
    assert set(statuses[beyond:]) == {Status.DRIFTED}


def test_a_decline_within_the_noise_is_not_reported() -> None:
    loud = line(0.006, 9, session_sd=0.04)
    assert status_of(loud, 0.054) is not Status.DRIFTED
    assert status_of(loud, 0.054) is not Status.OK


def test_a_drift_is_told_on_three_engines_and_never_passed_before() -> None:
    declined = line(0.006, 10)
    assert [status_of(declined, 0.06, count) for count in (1, 2, 3)] == [
        Status.UNDECIDED,
        Status.UNDECIDED,
        Status.DRIFTED,
    ]
    near = line(0.012, 5)
    assert 0.06 - near.centre[0] < 0.8 * MARGIN, "by its anchor alone it would pass"
    assert status_of(near, 0.06, 1) is Status.UNDECIDED


def test_a_decline_that_moved_the_anchor_itself_is_seen_by_its_trend() -> None:
    """The new session lies within the margin of the anchor, which has lost half of it."""
    model = line(0.012, 5)
    assert 0.012 * 5 - model.centre[0] < MARGIN
    outcome = look(model, np.full((1, 3), 0.06), np.array([MARGIN]), RuleSettings())
    assert STATUSES[int(outcome.codes[0])] is Status.DRIFTED
    assert outcome.loss[0] == pytest.approx(0.06)


def test_four_sessions_together_tell_what_the_new_one_alone_does_not() -> None:
    """Too late a step for a trend, and within what one session varies by."""
    late = known_model(np.array([[0.0] * 17 + [0.056] * 3]), session_sd=0.02)
    outcome = look(late, np.full((1, 3), 0.056), np.array([MARGIN]), RuleSettings())
    assert outcome.difference[0] < outcome.fail_reach[0]
    assert STATUSES[int(outcome.codes[0])] is Status.DRIFTED
    assert outcome.loss[0] == pytest.approx(0.056)
    only_one = known_model(np.zeros((1, 20)), session_sd=0.02)
    assert status_of(only_one, 0.056) is not Status.DRIFTED


@pytest.mark.parametrize(("before", "new", "status"), [(0.04, 0.06, Status.DRIFTED), (0.016, 0.055, Status.REGRESSED)])
def test_a_regression_most_of_which_was_there_before_has_drifted(before: float, new: float, status: Status) -> None:
    """Neither question about creeping finds it: the step is late, and four sessions together are within the margin."""
    model = known_model(np.array([[0.0] * 17 + [before] * 3]), session_sd=0.002)
    assert not creep(model, np.array([new]), 3, np.array([MARGIN]), 0.00125).found[0]
    assert status_of(model, new) is status


# --- what has not drifted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [1, 2, 3, 5, 8, 20])
def test_a_jump_is_a_regression(sessions: int) -> None:
    flat = known_model(np.zeros((1, sessions)), session_sd=0.002)
    assert status_of(flat, 0.08) is Status.REGRESSED


def test_a_jump_after_a_decline_is_a_regression() -> None:
    assert status_of(line(0.004, 8), 0.028 + 0.07) is Status.REGRESSED


def test_a_decline_whose_last_step_is_a_jump_is_never_passed_as_noise() -> None:
    model = line(0.028, 5, session_sd=0.0324)
    new = np.full((1, 6), 0.028 * 5)
    assert creep(model, new[:, 0], 6, np.array([MARGIN]), 0.00125).found[0]
    assert status_of(model, 0.028 * 5, 6) in (Status.REGRESSED, Status.DRIFTED)


@pytest.mark.parametrize("new", [0.0, 0.01])
def test_a_decline_that_was_mended_has_not_drifted(new: float) -> None:
    assert status_of(line(0.008, 12), new) is Status.OK


def test_a_gain_has_not_drifted() -> None:
    assert status_of(line(-0.012, 8), -0.012 * 8) is Status.IMPROVED


@pytest.mark.parametrize("prior", [WALL_CLOCK, QUIET], ids=["typical", "quiet"])
@pytest.mark.parametrize("sessions", [2, 5, 12])
def test_unchanged_noise_hardly_ever_drifts(prior: Prior, sessions: int) -> None:
    rng, rows, settings = np.random.default_rng(sessions), 6000, RuleSettings(margin=0.005)
    stored = baselines(drawn(rng, rows, sessions, 3, prior.session_sd, prior.engine_sd))
    new = drawn(rng, rows, 1, 3, prior.session_sd, prior.engine_sd)[:, 0]
    # So small a margin that chance alone decides: each of two questions is answered wrongly in 0.125 %.
    outcome = look(fit(stored, prior), new, np.full(rows, 0.001), settings)
    assert (outcome.codes == CODES[Status.DRIFTED]).sum() < 0.0025 * rows + 4 * (0.0025 * rows) ** 0.5
    assert (outcome.codes == CODES[Status.REGRESSED]).sum() < 0.005 * rows + 4 * (0.005 * rows) ** 0.5


def reported_at(prior: Prior, slope: float, rows: int = 60, most: int = 40) -> FloatArray:
    """What each of so many declining metrics had lost when it was reported; every session joins the baseline."""
    rng = np.random.default_rng(1)
    values = drawn(rng, rows, most, 3, prior.session_sd, prior.engine_sd) + slope * np.arange(most)[:, np.newaxis]
    lost = np.full(rows, np.inf)
    for sessions in range(1, most):
        model = fit(baselines(values[:, :sessions]), prior)
        codes = look(model, values[:, sessions], np.full(rows, MARGIN), RuleSettings()).codes
        red = np.isin(codes, [CODES[Status.DRIFTED], CODES[Status.REGRESSED]])
        lost = np.where(np.isinf(lost) & red, slope * sessions, lost)
    return lost


@pytest.mark.parametrize(("prior", "slope"), [(QUIET, 0.005), (QUIET, 0.01), (WALL_CLOCK, 0.0025), (WALL_CLOCK, 0.005)])
def test_a_creeping_metric_is_reported_before_it_has_lost_one_and_a_half_margins(prior: Prior, slope: float) -> None:
    lost = reported_at(prior, slope)
    assert (lost <= 1.5 * MARGIN).mean() > 0.93
    assert (lost < 0.5 * MARGIN).mean() < 0.1


# --- sessions that are not stored any more ------------------------------------------------------------------


def test_a_gap_shifts_the_trends_time() -> None:
    times = np.array([0, 1, 2, 3, 4, 15, 16, 17])
    levels = 0.003 * times[np.newaxis]
    with_gap = known_model(levels, 0.0025, 0.002, gap=(5, 10))
    margin, at = np.array([0.04]), np.array([0.003 * 18])
    assert creep(with_gap, at, 3, margin, 0.00125).loss[0] == pytest.approx(0.054), "the line's own loss"
    assert creep(replace(with_gap, gap=None), at, 3, margin, 0.00125).loss[0] > 0.056
