"""Decisions on stored samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import (
    WALL_CLOCK,
    Direction,
    NoiseModel,
    against_centre,
    detectable_change,
    fit,
    flatten,
    predict,
    tabulate,
)
from pytest_vllmperf.verdict import (
    CODES,
    STATUSES,
    Case,
    Outcome,
    RuleSettings,
    assess,
    judge_case,
    judge_cases,
    judge_paired,
    look,
    run_course,
)
from tests.stats.conftest import known_model

HIGHER, LOWER = Direction.HIGHER, Direction.LOWER
SDS = ("engine_sd", "session_sd")

Sessions = list[list[list[float]]]


def sessions(
    seed: int,
    layout: Sequence[int] = (3,) * 5,
    level: float = 4800.0,
    noise: float = 1.0,
    iterations: int = 10,
) -> Sessions:
    """Samples with the typical noise (1 / 1.5 / 2 %) times `noise`."""
    rng = np.random.default_rng(seed)
    made = []
    for engines in layout:
        by_session = rng.normal(0, 0.01 * noise)
        by_engine = by_session + rng.normal(0, 0.015 * noise, (engines, 1))
        made.append((level * np.exp(by_engine + rng.normal(0, 0.02 * noise, (engines, iterations)))).tolist())
    return made


def engines(seed: int, count: int, level: float = 4800.0, noise: float = 1.0) -> list[list[float]]:
    return sessions(seed, (count,), level, noise)[0]


def case(new_level: float = 4800.0, count: int = 3, seed: int = 0, **changes: Any) -> Case:
    stored, new = sessions(seed), engines(seed + 1000, count, new_level)
    return Case("output throughput", HIGHER, stored, new, replace(RuleSettings(), **changes))


def test_a_slowdown_is_reported_with_all_its_figures() -> None:
    decision = judge_case(case(new_level=4800 * 0.85))
    assert decision.status is Status.REGRESSED
    assert decision.baseline == pytest.approx(4800, rel=0.03)
    assert decision.value == pytest.approx(4800 * 0.85, rel=0.03)
    assert decision.change == pytest.approx(decision.value / decision.baseline - 1)
    assert decision.low < decision.change < decision.high < 0
    assert (decision.confidence, decision.margin) == (0.99, 0.05)
    assert (decision.engines, decision.iterations) == (3, 10)
    assert (decision.noise.engines, decision.noise.sessions) == (15, 5)
    assert 0.005 <= decision.noise.session_sd < 0.03
    assert 0.005 <= decision.noise.engine_sd < 0.03
    assert 0.05 < decision.noise.detectable < 0.10
    assert decision.noise.testable
    assert not decision.noise.multimodal
    assert not decision.thin_baseline


def test_latency_regresses_upwards() -> None:
    slow = Case("tpot", LOWER, sessions(0, level=0.02), engines(1, 3, 0.023))
    assert judge_case(slow).status is Status.REGRESSED
    assert judge_case(slow).change == pytest.approx(0.15, abs=0.03)
    assert 0 < judge_case(slow).low < judge_case(slow).high
    assert judge_case(replace(slow, direction=HIGHER)).status is Status.IMPROVED


def test_many_are_judged_as_one_by_one_and_in_order() -> None:
    mixed = [
        Case(
            f"metric {index}",
            LOWER if index % 2 else HIGHER,
            sessions(index, layout=(3, 3, 2)[: 1 + index % 3], iterations=10 - index % 2),
            engines(index + 50, 1 + index % 4, 4800 * (0.8 + 0.02 * index)),
            RuleSettings(margin=0.1) if index % 5 == 0 else RuleSettings(),
        )
        for index in range(24)
    ]
    together = judge_cases(mixed)
    assert [decision.metric for decision in together] == [one.metric for one in mixed]
    assert len({decision.status for decision in together}) >= 3
    for one, decision in zip(mixed, together, strict=True):
        alone = judge_case(one)
        assert decision.status is alone.status
        assert decision.change == pytest.approx(alone.change)
        assert decision.noise.engine_sd == pytest.approx(alone.noise.engine_sd)


def test_more_metrics_than_a_block() -> None:
    one = Case("metric", HIGHER, sessions(0, (1,), iterations=2), engines(1, 1))
    decisions = judge_cases(replace(one, metric=str(index)) for index in range(1030))
    assert [decision.metric for decision in decisions] == [str(index) for index in range(1030)]
    assert judge_cases([]) == []


@pytest.mark.parametrize("new_level", [4800.0, 4800 * 0.7])
@pytest.mark.parametrize("layout", [(1,), (2,), (1, 1)])
def test_a_thin_baseline_passes_or_is_noisy(layout: tuple[int, ...], new_level: float) -> None:
    thin = Case("m", HIGHER, sessions(3, layout, iterations=1), engines(4, 6, new_level))
    decision = judge_case(thin)
    assert decision.thin_baseline
    assert decision.status is (Status.OK if new_level == 4800 else Status.NOISY)
    assert not decision.noise.testable


def test_zero_variance_is_judged_by_floors_and_priors() -> None:
    same = Case("m", HIGHER, [[[100.0] * 3] * 3] * 5, [[100.0] * 3])
    assert judge_case(same).status is Status.OK
    assert judge_case(same).change == pytest.approx(0)
    assert judge_case(same).low < 0 < judge_case(same).high
    slow = replace(same, new=[[90.0] * 3] * 3)
    assert judge_case(slow).status is Status.REGRESSED
    assert judge_case(replace(slow, new=[[97.0] * 3] * 3)).status is Status.OK


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -3.0])
def test_bad_samples_name_metric_side_and_position(bad: float) -> None:
    good = case()
    spoilt = [*good.baseline[:4], [[1.0], [1.0], [2.0, bad]]]
    with pytest.raises(SampleError, match=r"output throughput \(baseline\)\[4\]\[2\]\[1\]"):
        judge_case(replace(good, baseline=spoilt))
    with pytest.raises(SampleError, match=r"output throughput \(new\)\[1\]\[0\]") as caught:
        judge_cases([good, replace(good, new=[[1.0], [bad]])])
    assert caught.value.position == (1, 0)


def test_no_new_engine_is_refused() -> None:
    for judge_one in (judge_case, judge_paired):
        with pytest.raises(SampleError, match=r"\(new\): no engines"):
            judge_one(replace(case(), new=[]))
    with pytest.raises(SampleError, match=r"\(new\)\[1\]: an engine without iterations"):
        judge_case(replace(case(), new=[[1.0], []]))


def test_modes_in_the_baseline_are_flagged_and_forgive_a_slow_start() -> None:
    modes = [[[100.0] * 3, [100.2] * 3, [90.0] * 3]] * 5
    decision = judge_case(Case("m", HIGHER, modes, [[90.0] * 3, [90.1] * 3, [100.0] * 3]))
    assert decision.noise.multimodal
    assert decision.status is not Status.REGRESSED


def look_at(model: NoiseModel, new: list[list[float]], count: int) -> Outcome:
    draws = tabulate([flatten([new[:count]], "m")], [HIGHER]).values
    return look(model, draws, np.array([RuleSettings().log_margin(HIGHER)]), RuleSettings())


def test_one_engine_after_the_other_agrees_with_the_array_form() -> None:
    statuses = set()
    for seed, loss in product(range(8), (0.0, 0.06, 0.08)):
        stored, new = sessions(seed, noise=2.0), engines(seed + 1000, 6, 4800 * (1 - loss), noise=2.0)
        looks = (judge_case(Case("m", HIGHER, stored, new[:count])) for count in range(1, 7))
        decision = next(one for one in looks if one.status.final)
        model = fit(tabulate([flatten(stored, "m")], [HIGHER]), WALL_CLOCK)
        course = run_course(partial(look_at, model, new), 1, RuleSettings())
        assert decision.status is STATUSES[course.codes[0]]
        assert decision.engines == course.engines[0]
        statuses.add(decision.status)
    assert {Status.OK, Status.NOISY} <= statuses


def test_paired_requests_are_judged_by_their_ratios() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.lognormal(-2, 1, 300)

    def engine(factor: float) -> list[float]:
        times: list[float] = (factor * prompts * rng.lognormal(0, 0.15, 300)).tolist()
        return times

    stored = [[engine(1.0) for _ in range(3)] for _ in range(5)]
    same = Case("ttft", LOWER, stored, [engine(1.0)])
    assert judge_paired(same).status is Status.OK
    slow = judge_paired(replace(same, new=[engine(1.15) for _ in range(3)]))
    assert slow.status is Status.REGRESSED
    assert slow.change == pytest.approx(0.15, abs=0.03)
    assert slow.iterations == 300
    turned = judge_paired(replace(same, baseline=[session[::-1] for session in stored]))
    assert turned.high == pytest.approx(judge_paired(same).high), "the order of engines does not matter"


def test_assess_says_what_a_baseline_can_tell() -> None:
    quiet = assess("m", HIGHER, sessions(0, noise=0.5), RuleSettings())
    loud = assess("m", HIGHER, sessions(0, noise=4.0), RuleSettings())
    assert quiet.testable
    assert not loud.testable
    assert 0.05 < quiet.detectable < 0.08 < loud.detectable < 1
    assert assess("m", HIGHER, sessions(0), RuleSettings(margin=0.2)).detectable > 0.2
    assert assess("m", HIGHER, sessions(0), RuleSettings()) == replace(judge_case(case()).noise, sessions_to_test=5)


@pytest.mark.parametrize("stored", [1, 3, 5, 20])
def test_the_detectable_change_is_detected_as_often_as_stated(stored: int) -> None:
    rng = np.random.default_rng(stored)
    trials, limit = 4000, RuleSettings().log_margin(HIGHER)
    engine_sd, session_sd = (float(getattr(known_model(np.zeros((1, 1)), 0.015, 0.01), name)[0]) for name in SDS)
    spread = math.sqrt(session_sd**2 + engine_sd**2 / 3)
    model = known_model(rng.normal(0, spread, (trials, stored)), 0.015, 0.01)
    change = detectable_change(predict(model.weights, against_centre(model, 6)), np.full(trials, limit), 0.005, 0.8)
    new = rng.normal(0, session_sd, (trials, 1)) + rng.normal(0, engine_sd, (trials, 6)) + change[:, np.newaxis]
    codes = look(model, new, np.full(trials, limit), RuleSettings()).codes
    found = np.isin(codes, [CODES[Status.REGRESSED], CODES[Status.DRIFTED]])
    # A drift question may find what the regression's misses, never the other way round.
    assert 0.77 < found.mean() < 0.9


def test_what_crept_in_is_told_with_the_drift_alone() -> None:
    stored = [[[4800 * 0.99**day] * 3] * 3 for day in range(8)]
    decision = judge_case(Case("m", HIGHER, stored, [[4800 * 0.99**8] * 3] * 3))
    assert decision.status is Status.DRIFTED
    assert decision.crept == pytest.approx(0.99**8 - 1, abs=0.002)
    assert judge_case(case(new_level=4000.0)).crept is None


def test_missing_sessions_are_counted_in_a_trend() -> None:
    stored = [[[4800 * 0.997**day] * 3] * 3 for day in (*range(5), *range(15, 18))]
    new = [[4800 * 0.997**18] * 3] * 3
    decision = judge_case(Case("m", HIGHER, stored, new, gap=(5, 10)))
    assert (decision.status, decision.crept) == (Status.DRIFTED, pytest.approx(0.997**18 - 1, abs=0.002))
