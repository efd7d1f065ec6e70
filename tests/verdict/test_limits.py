"""Absolute limits: what is within, beyond, and neither; and how often a level at the limit fails by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import LimitVerdict, Status
from pytest_vllmperf.verdict.limits import in_force, judge_limits, limit_error
from pytest_vllmperf.verdict.settings import VerdictSettings


def engine(metric: str, *values: float, once: float | None = None, cold: bool = False) -> EngineSamples:
    return EngineSamples(
        cold_start=cold,
        discarded=0,
        iterations=max(1, len(values)),
        samples={metric: list(values)} if values else {},
        once={} if once is None else {metric: once},
    )


def engines(metric: str, levels: Sequence[float]) -> list[EngineSamples]:
    """One engine for each level, whose iterations vary by 0.2 %."""
    return [engine(metric, level * 0.998, level, level * 1.002) for level in levels]


def judged(metric: str, limit: float, found: Sequence[EngineSamples], *, last: bool = False) -> LimitVerdict:
    (one,) = judge_limits(VerdictSettings(("ttft.p50",), limits={metric: limit}), found, last_look=last)
    return one


@pytest.mark.parametrize(("metric", "good", "bad"), [("ttft.p99", 0.4, 0.6), ("output_throughput", 600.0, 400.0)])
def test_the_direction_is_the_metrics_own(metric: str, good: float, bad: float) -> None:
    limit = 0.5 if metric == "ttft.p99" else 500.0
    assert judged(metric, limit, engines(metric, [good])).status is Status.OK
    assert judged(metric, limit, engines(metric, [bad] * 3)).status is Status.BEYOND_LIMIT


def test_beyond_needs_three_engines_unless_no_more_come() -> None:
    two = engines("ttft.p50", [0.6, 0.6])
    assert judged("ttft.p50", 0.5, two).status is Status.UNDECIDED
    assert judged("ttft.p50", 0.5, two[:1], last=True).status is Status.BEYOND_LIMIT
    found = judged("ttft.p50", 0.5, engines("ttft.p50", [0.6] * 3))
    assert found.status is Status.BEYOND_LIMIT
    assert found.now == pytest.approx(0.6, rel=1e-3)
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < 0.6 < found.high
    assert (found.confidence, found.engines) == (pytest.approx(0.99), 3)


def test_a_level_at_the_limit_asks_for_more_engines_and_is_noisy_in_the_end() -> None:
    at = engines("ttft.p50", [0.505, 0.497, 0.502, 0.495, 0.508, 0.499])
    for count in range(1, 6):
        assert judged("ttft.p50", 0.5, at[:count]).status is Status.UNDECIDED
    assert judged("ttft.p50", 0.5, at).status is Status.NOISY  # the most engines that there are
    assert judged("ttft.p50", 0.5, at[:3], last=True).status is Status.NOISY


def test_what_was_ok_does_not_ask_again() -> None:
    settings = VerdictSettings(("ttft.p50",), limits={"ttft.p50": 0.5})
    before = [LimitVerdict("ttft.p50", 0.5, Status.OK)]
    at = engines("ttft.p50", [0.49, 0.505])
    assert judge_limits(settings, at)[0].status is Status.UNDECIDED
    assert judge_limits(settings, at, before)[0].status is Status.OK
    beyond = engines("ttft.p50", [0.6] * 3)
    assert judge_limits(settings, beyond, before)[0].status is Status.BEYOND_LIMIT


def test_a_level_at_the_limit_hardly_ever_fails_by_chance() -> None:
    rng = np.random.default_rng(11)
    ended = []
    for _ in range(150):
        levels = 0.5 * np.exp(rng.normal(0, 0.02, 6))
        found = engines("e2e.p50", levels.tolist())
        looks = (judged("e2e.p50", 0.5, found[:count]) for count in range(1, 7))
        ended.append(next(one.status for one in looks if one.status is not Status.UNDECIDED))
    assert ended.count(Status.BEYOND_LIMIT) <= 4  # 1.5 a_fail are 1 in 150
    assert ended.count(Status.NOISY) > ended.count(Status.OK)


def test_a_level_beyond_the_limit_by_five_per_cent_is_found() -> None:
    rng = np.random.default_rng(12)
    found = 0
    for _ in range(40):
        levels = (0.525 * np.exp(rng.normal(0, 0.01, 6))).tolist()
        looks = (judged("e2e.p50", 0.5, engines("e2e.p50", levels[:count])) for count in range(1, 7))
        found += next(one.status for one in looks if one.status is not Status.UNDECIDED) is Status.BEYOND_LIMIT
    assert found >= 36


def test_counters_are_compared_as_they_are_and_confirmed() -> None:
    assert judged("preemptions", 0, [engine("preemptions", 0.0)]).status is Status.OK
    assert judged("preemptions", 0, [engine("preemptions", 3.0)]).status is Status.UNDECIDED
    assert judged("preemptions", 0, [engine("preemptions", 3.0)] * 2).status is Status.BEYOND_LIMIT
    mixed = [engine("preemptions", 3.0), engine("preemptions", 0.0)]
    assert judged("preemptions", 0, mixed).status is Status.UNDECIDED
    assert judged("preemptions", 0, mixed, last=True).status is Status.NOISY


def test_a_share_of_zero_has_no_logarithm_and_is_judged_all_the_same() -> None:
    assert judged("goodput", 0.9, [engine("goodput", 0.0)] * 3).status is Status.BEYOND_LIMIT
    assert judged("goodput", 0.9, [engine("goodput", 1.0)]).status is Status.OK


def test_what_was_not_measured_is_never_within_its_limit() -> None:
    found = judged("goodput", 0.9, engines("ttft.p50", [0.1]))
    assert (found.status, found.now) == (Status.INVALID, None)


def test_a_load_time_counts_on_warm_starts_alone() -> None:
    cold, warm = (engine("load_time", once=20.0, cold=cold) for cold in (True, False))
    assert judged("load_time", 30.0, [cold]).status is Status.UNDECIDED
    assert judged("load_time", 30.0, [cold], last=True).status is Status.INVALID
    assert judged("load_time", 30.0, [cold, warm]).status is Status.OK


def test_limits_share_the_error_budget_and_come_in_the_order_of_the_table() -> None:
    settings = VerdictSettings(("ttft.p50",), limits={"e2e.p50": 0.5, "output_throughput": 1.0})
    both = [EngineSamples(discarded=0, iterations=2, samples={"e2e.p50": [0.4, 0.4], "output_throughput": [9.0, 9.0]})]
    found = judge_limits(settings, both)
    assert [one.metric for one in found] == ["output_throughput", "e2e.p50"]
    assert [one.confidence for one in found] == [pytest.approx(0.995)] * 2


@pytest.mark.parametrize(
    ("name", "limit", "said"),
    [
        ("goodput", 95.0, "at most 1, not 95"),
        ("output_throughput", 0.0, "would always hold"),
        ("ttft.p50", 0.0, "would never hold"),
        ("preemptions", 0.0, ""),
        ("ttft.p50", 0.5, ""),
    ],
)
def test_limits_that_make_no_sense(name: str, limit: float, said: str) -> None:
    error = limit_error(name, limit)
    assert said in error
    assert bool(error) is bool(said)


def test_limits_that_are_off_are_not_in_force() -> None:
    assert in_force({"ttft.p50": 1.0, "e2e.p50": None}) == {"ttft.p50": 1.0}
