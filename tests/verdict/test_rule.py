"""The rule on arrays, a real case and the properties of a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import WALL_CLOCK, Direction, EngineTable, NoiseModel, fit
from pytest_vllmperf.verdict import (
    STATUSES,
    Case,
    Outcome,
    RuleSettings,
    family_a_fail,
    judge_case,
    judge_cases,
    look,
    run_course,
)
from tests.stats.conftest import known_model

HIGHER, LOWER = Direction.HIGHER, Direction.LOWER
# Seven starts of one vLLM build, tok/s, two of them in a fast mode: issue 6347 of ROCm/legacy-rocm-build.
ROCM = (26.49, 26.54, 32.39, 33.63, 26.54, 26.35, 26.41)


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metrics", "a_fail"), [(1, 0.005), (4, 0.005), (5, 0.004), (80, 0.05 / 200), (1000, 0.00002)])
def test_family_a_fail(metrics: int, a_fail: float) -> None:
    assert family_a_fail(metrics) == pytest.approx(a_fail)


def test_family_a_fail_refuses_no_metrics() -> None:
    with pytest.raises(ValueError, match="gated_metrics"):
        family_a_fail(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin", -0.01),
        ("margin", math.nan),
        ("margin", math.inf),
        ("a_fail", 0),
        ("a_fail", 0.5),
        ("a_pass", 0.7),
        ("power", 0.4),
        ("power", 1),
        ("min_engines", 0),
        ("max_engines", 0),
    ],
)
def test_settings_that_judge_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        replace(RuleSettings(), **cast(Any, {name: value}))


def test_the_margin_means_what_it_says_in_either_direction() -> None:
    assert math.exp(-RuleSettings().log_margin(HIGHER)) == pytest.approx(0.95)
    assert math.exp(RuleSettings().log_margin(LOWER)) == pytest.approx(1.05)
    assert math.exp(RuleSettings(margin=1.5).log_margin(LOWER)) == pytest.approx(2.5)
    assert RuleSettings(margin=1.0).log_margin(HIGHER) == RuleSettings(margin=1.5).log_margin(HIGHER) == math.inf


# --- the rule on arrays -----------------------------------------------------------------------------------


def quiet_model(engines_stored: int = 15, engine_sd: float = 0.01) -> NoiseModel:
    """Engine sd 1 %, session sd 0.5 %, known."""
    sizes = (engines_stored // 5,) * 5 if engines_stored >= 5 else (engines_stored,)
    return known_model(np.zeros((1, len(sizes))), engine_sd, engines=sizes[0])


def status_of(model: NoiseModel, new: Sequence[float], margin: float = 0.05, **changes: Any) -> Status:
    outcome = look(model, np.array([new]), np.array([margin]), replace(RuleSettings(), **changes))
    return STATUSES[int(outcome.codes[0])]


@pytest.mark.parametrize(
    ("new", "status"),
    [
        ([0.0], Status.OK),
        ([0.033], Status.OK),
        ([0.036], Status.UNDECIDED),
        ([0.2], Status.UNDECIDED),
        ([0.2, 0.2], Status.UNDECIDED),
        ([0.2, 0.2, 0.2], Status.REGRESSED),
        ([0.051] * 3, Status.REGRESSED),
        ([0.049] * 3, Status.UNDECIDED),
        ([0.049] * 6, Status.NOISY),
        ([0.037] * 3, Status.OK),
        ([-0.2, -0.2], Status.OK),
        ([-0.2] * 3, Status.IMPROVED),
        ([-0.049] * 3, Status.OK),
    ],
)
def test_the_rule(new: list[float], status: Status) -> None:
    assert status_of(quiet_model(), new) is status


def test_a_change_beyond_the_margin_within_the_noise_does_not_fail() -> None:
    loud = quiet_model(engine_sd=0.05)
    assert status_of(loud, [0.06] * 3) is Status.UNDECIDED
    assert status_of(loud, [0.06] * 6) is Status.NOISY
    assert status_of(loud, [-0.06] * 6) is Status.OK
    assert status_of(loud, [0.2] * 3) is Status.REGRESSED


def test_settings_move_the_rule() -> None:
    model = quiet_model()
    assert status_of(model, [0.06] * 3, margin=0.1) is Status.OK
    assert status_of(model, [0.2], min_engines=1) is Status.REGRESSED
    assert status_of(model, [0.2], max_engines=1) is Status.NOISY
    assert status_of(model, [0.036], a_pass=0.2) is Status.OK
    borderline = [0.026] * 3
    assert status_of(model, borderline, margin=0.01) is Status.REGRESSED
    assert status_of(model, borderline, margin=0.01, a_fail=1e-6) is Status.UNDECIDED


def test_fewer_than_three_stored_engines_never_fail() -> None:
    for stored, expected in ((1, Status.NOISY), (2, Status.NOISY), (3, Status.REGRESSED)):
        assert status_of(quiet_model(stored), [0.5] * 6) is expected


def test_course_stops_at_the_first_final_look() -> None:
    model = fit(EngineTable(np.zeros((4, 15)), (3,) * 5, np.zeros(4)), WALL_CLOCK)
    draws = np.array([[0.0] * 6, [0.3] * 6, [0.3, 0.0, 0.0, 0.0, 0.0, 0.0], [0.051] * 6])
    margin = np.full(4, 0.0513)
    course = run_course(lambda count: look(model, draws[:, :count], margin, RuleSettings()), 4, RuleSettings())
    assert [STATUSES[code] for code in course.codes] == [Status.OK, Status.REGRESSED, Status.OK, Status.NOISY]
    assert course.engines.tolist()[:2] == [1, 3]
    assert 1 < course.engines[2] < 6
    assert course.engines[3] == 6


def test_course_asks_for_no_look_after_the_last_is_decided() -> None:
    looks: list[int] = []

    def after(count: int) -> Outcome:
        looks.append(count)
        return look(quiet_model(), np.zeros((1, count)), np.array([0.05]), RuleSettings())

    run_course(after, 1, RuleSettings())
    assert looks == [1]


# --- the real case ----------------------------------------------------------------------------------------


def test_a_naive_gate_fails_ten_of_the_rocm_pairs() -> None:
    pairs = [(old, new) for i, old in enumerate(ROCM) for j, new in enumerate(ROCM) if i != j]
    assert (len(pairs), sum(new < 0.95 * old for old, new in pairs)) == (42, 10)


@pytest.mark.parametrize("one_session", [True, False])
def test_no_split_of_the_rocm_starts_is_a_regression(one_session: bool) -> None:
    cases = []
    for sides in product(("stored", "new", "unused"), repeat=len(ROCM)):
        stored = [[value] for value, side in zip(ROCM, sides, strict=True) if side == "stored"]
        new = [[value] for value, side in zip(ROCM, sides, strict=True) if side == "new"]
        if stored and new:
            baseline = [stored] if one_session else [[engine] for engine in stored]
            cases.append(Case("output throughput", HIGHER, baseline, new))
    decisions = judge_cases(cases)
    assert len(decisions) == 3**7 - 2 * 2**7 + 1
    statuses = {decision.status for decision in decisions}
    assert Status.REGRESSED not in statuses
    assert {Status.OK, Status.UNDECIDED, Status.NOISY} <= statuses


# --- properties -------------------------------------------------------------------------------------------

fitting = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 10_000)
losses = st.floats(-0.15, 0.15)
counts = st.integers(1, 6)


def generated(seed: int, loss: float, count: int) -> Case:
    """A baseline of random layout with 3 % of noise, and `count` engines that lost `loss` of their speed."""
    rng = np.random.default_rng(seed)

    def engines(number: int, level: float) -> list[list[float]]:
        noise = rng.normal(0, 0.02, (number, 1)) + rng.normal(0, 0.03, (number, 10))
        made: list[list[float]] = (level * np.exp(noise)).tolist()
        return made

    stored = [engines(int(number), 4800) for number in rng.integers(1, 4, rng.integers(1, 6))]
    return Case("output throughput", HIGHER, stored, engines(count, 4800 * (1 - loss)))


@fitting
@given(seeds, losses, counts)
def test_the_order_of_engines_in_a_session_does_not_matter(seed: int, loss: float, count: int) -> None:
    one = generated(seed, loss, count)
    reversed_engines = replace(one, baseline=[session[::-1] for session in one.baseline], new=one.new[::-1])
    before, after = judge_case(one), judge_case(reversed_engines)
    assert after.status is before.status
    assert after.change == pytest.approx(before.change, abs=1e-9)
    assert after.low == pytest.approx(before.low, abs=1e-9)


@fitting
@given(seeds, losses, counts, st.sampled_from([1e-9, 1e-3, 1000.0, 1e12]))
def test_the_unit_does_not_matter(seed: int, loss: float, count: int, scale: float) -> None:
    one = generated(seed, loss, count)
    before = judge_case(one)
    after = judge_case(
        replace(
            one,
            baseline=[[[scale * x for x in engine] for engine in session] for session in one.baseline],
            new=[[scale * x for x in engine] for engine in one.new],
        )
    )
    assert after.status is before.status
    assert after.change == pytest.approx(before.change, abs=1e-9)
    assert after.value == pytest.approx(scale * before.value)


@fitting
@given(seeds, losses, counts)
def test_the_encoding_of_the_direction_does_not_matter(seed: int, loss: float, count: int) -> None:
    """Tokens per second, or seconds per token: 5 % less of the one is 1 / 0.95 of the other."""
    one = generated(seed, loss, count)
    before = judge_case(one)
    after = judge_case(
        replace(
            one,
            direction=LOWER,
            baseline=[[[1 / x for x in engine] for engine in session] for session in one.baseline],
            new=[[1 / x for x in engine] for engine in one.new],
            settings=RuleSettings(margin=1 / 0.95 - 1),
        )
    )
    assert after.status is before.status
    assert 1 + after.change == pytest.approx(1 / (1 + before.change))
    assert (1 + after.low, 1 + after.high) == pytest.approx((1 / (1 + before.high), 1 / (1 + before.low)))
