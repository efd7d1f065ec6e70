"""Engines measured in turns with a reference, as arrays."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import WALL_CLOCK, FloatArray, Prior, Spread, engine_sd, location_variance
from pytest_vllmperf.verdict import CODES, STATUSES, Course, Outcome, RuleSettings, look_at_pairs, run_course
from pytest_vllmperf.verdict.pairs import fit_pairs, pair_effects
from tests.stats.conftest import QUIET, drawn, spread_of

ONE_MODE = np.array([False])


def rounds_of(differences: list[float], prior: Prior = WALL_CLOCK, **settings: float) -> Outcome:
    model = fit_pairs(np.array([differences]), prior, None, ONE_MODE)
    return look_at_pairs(model, np.array([0.05]), RuleSettings(**settings))  # type: ignore[arg-type]


def status_of(differences: list[float], **settings: float) -> Status:
    return STATUSES[int(rounds_of(differences, **settings).codes[0])]


def course(differences: FloatArray, prior: Prior, margin: float) -> Course:
    rows, settings = len(differences), RuleSettings(margin=margin, prior=prior)

    def after(count: int) -> Outcome:
        model = fit_pairs(differences[:, :count], prior, None, np.zeros(rows, dtype=np.bool_))
        return look_at_pairs(model, np.full(rows, margin), settings)

    return run_course(after, rows, settings)


def share(found: Course, status: Status) -> float:
    return float((found.codes == CODES[status]).mean())


# --- what rounds vary by ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_rounds_difference_has_two_engines_and_no_session(count: int) -> None:
    effects = pair_effects(count, np.array([False, True]))
    assert effects.session == 0
    assert effects.engine == pytest.approx([2 * location_variance(count), 2 / count])


def test_the_noise_is_that_of_one_engine() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0, 0.004, (50, 200)) - rng.normal(0, 0.004, (50, 200))
    model = fit_pairs(differences, WALL_CLOCK, None, np.zeros(50, dtype=np.bool_))
    assert np.sqrt(model.engine_variance.mean()) == pytest.approx(0.004, rel=0.03)
    assert engine_sd(model.weights).mean() == pytest.approx(0.004, rel=0.05)
    assert model.rounds == 200


def test_stored_engines_say_what_new_ones_vary_by() -> None:
    stored: Spread = spread_of(drawn(np.random.default_rng(2), 1, 5, 3, 0.05, 0.0025))
    differences = np.array([[0.001, -0.002]])
    alone = fit_pairs(differences, WALL_CLOCK, None, ONE_MODE)
    helped = fit_pairs(differences, WALL_CLOCK, stored, ONE_MODE)
    assert engine_sd(helped.weights)[0] < 0.6 * engine_sd(alone.weights)[0]
    assert helped.difference == pytest.approx(alone.difference)


def test_stored_engines_in_groups_make_a_mean_of_rounds() -> None:
    differences = np.array([[0.0, 0.0, 0.09]])
    grouped = fit_pairs(differences, WALL_CLOCK, None, np.array([True]))
    assert grouped.multimodal[0]
    assert grouped.difference[0] == pytest.approx(0.03)
    assert fit_pairs(differences, WALL_CLOCK, None, ONE_MODE).difference[0] == pytest.approx(0.0)


# --- the rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "status"),
    [
        ([0.0], Status.OK),
        ([0.2], Status.UNDECIDED),
        ([0.2, 0.2], Status.UNDECIDED),
        ([0.2, 0.21, 0.19], Status.REGRESSED),
        ([0.04], Status.UNDECIDED),
        ([-0.2, -0.2, -0.21], Status.IMPROVED),
        ([-0.02], Status.OK),
        ([0.04] * 6, Status.OK),
        ([0.049] * 6, Status.NOISY),
    ],
)
def test_the_rule_on_rounds(differences: list[float], status: Status) -> None:
    assert status_of(differences) is status


@pytest.mark.parametrize("slow_start", [0.17, 0.25, 0.4])
def test_one_slow_start_of_the_reference_does_not_hide_a_slowdown(slow_start: float) -> None:
    """It makes a new engine look fast that is 10 % slow."""
    slow = 0.105
    looks = [status_of([slow - slow_start, slow, slow + 0.002, slow - 0.002][:count]) for count in (1, 2, 3, 4)]
    assert Status.OK not in looks
    assert Status.IMPROVED not in looks
    assert looks[-1] is Status.REGRESSED


def test_a_lone_fast_round_stays_open_up_to_the_last_engine() -> None:
    assert status_of([-0.2]) is Status.UNDECIDED
    assert status_of([-0.2, -0.2]) is Status.UNDECIDED
    assert status_of([-0.2], max_engines=1) is Status.NOISY
    assert status_of([-0.2], min_engines=1) is Status.IMPROVED


def test_nothing_creeps_in_rounds() -> None:
    outcome = rounds_of([0.2, 0.2, 0.2])
    assert outcome.loss[0] == outcome.difference[0] == pytest.approx(0.2)


# --- on many draws ------------------------------------------------------------------------------------------

ROWS = 4000


def drawn_rounds(seed: int, engine: float, loss: float = 0.0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, engine, (ROWS, 6)) - rng.normal(0, engine, (ROWS, 6)) - math.log1p(-loss)


def test_session_noise_cancels_so_that_one_percent_can_be_told_on_a_quiet_gpu() -> None:
    judged = partial(course, prior=QUIET, margin=0.01)
    unchanged = judged(drawn_rounds(1, 0.0025))
    assert share(unchanged, Status.REGRESSED) < 0.005
    assert share(unchanged, Status.OK) > 0.97
    assert unchanged.engines.mean() < 1.5
    assert share(judged(drawn_rounds(2, 0.0025, 0.02)), Status.REGRESSED) > 0.95
    assert share(judged(drawn_rounds(2, 0.0025, 0.02)), Status.OK) < 0.01


def test_typical_noise_is_judged_at_five_percent() -> None:
    judged = partial(course, prior=WALL_CLOCK, margin=0.05)
    assert share(judged(drawn_rounds(3, 0.015)), Status.REGRESSED) < 0.003
    assert share(judged(drawn_rounds(4, 0.015, 0.10)), Status.REGRESSED) > 0.98
