"""Custom metrics: nothing is known of their noise, so that the first sessions are judged with care."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.verdict import LimitVerdict, MetricVerdict, Status
from pytest_vllmperf.verdict import Evidence, VerdictSettings, family_a_fail, judge
from pytest_vllmperf.verdict.limits import judge_limits

ONCE, EACH, EXACT = "steps [ms, lower, once]", "steps [ms, lower]", "builds [lower, exact, once]"
TRIALS = 300


def engine(metric: str, *values: float) -> EngineSamples:
    return EngineSamples(discarded=0, iterations=1, samples={}, recorded={metric: list(values)} if values else {})


def sessions(metric: str, values: list[list[float]]) -> list[Session]:
    environment = Environment(hard={}, soft={})
    return [
        Session(recorded=f"2026-01-{day:02}", environment=environment, engines=[engine(metric, one) for one in starts])
        for day, starts in enumerate(values, start=1)
    ]


def verdict(metric: str, before: list[list[float]], now: list[float], *, last: bool = False) -> MetricVerdict:
    settings, stored = VerdictSettings((metric,), a_fail=family_a_fail(6)), sessions(metric, before)
    # Of the engines of a session, further ones have no value.
    padded = [one.model_copy(update={"engines": [*one.engines, engine(metric), engine(metric)]}) for one in stored]
    new = [engine(metric, value) for value in now]
    [found] = judge(Evidence(padded, new, settings, last_look=last)).metrics
    return found


def draws(seed: int, noise: float, stored: int, shift: float = 1.0) -> list[MetricVerdict]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(TRIALS):
        values = 10 * np.exp(rng.normal(0, noise, stored + 1))
        found.append(verdict(ONCE, [[float(one)] for one in values[:-1]], [float(values[-1]) * shift]))
    return found


@pytest.mark.parametrize(("noise", "stored", "most"), [(0.02, 3, 3), (0.05, 3, 6), (0.05, 6, 6), (0.1, 6, 12)])
def test_noise_alone_is_hardly_ever_a_regression(noise: float, stored: int, most: int) -> None:
    bad = [one for one in draws(7, noise, stored) if one.status in (Status.REGRESSED, Status.DRIFTED)]
    assert len(bad) <= most


def test_a_change_that_noise_does_not_explain_is_found_and_never_passes_in_silence() -> None:
    found = [one.status for one in draws(8, 0.01, 6, shift=1.25)]
    assert found.count(Status.REGRESSED) == TRIALS
    assert Status.OK not in [one.status for one in draws(9, 0.01, 1, shift=1.25)]


def test_a_value_of_the_run_is_decided_at_once() -> None:
    for now in (10.0, 10.6, 12.0, 30.0):
        assert verdict(ONCE, [[10.0]] * 3, [now]).status.final
    assert verdict(EACH, [[10.0, 10.2, 9.8]], [10.7]).status is Status.UNDECIDED


def test_an_exact_value_of_the_run_needs_no_second_engine() -> None:
    assert verdict(EXACT, [[3.0]], [4.0]).status is Status.REGRESSED
    assert verdict(EXACT, [[3.0]], [2.0]).status is Status.IMPROVED
    assert verdict(EXACT, [[3.0]], [3.0]).status is Status.OK
    assert verdict("builds [lower, exact]", [[3.0]], [4.0]).status is Status.UNDECIDED


def limit(metric: str, bound: float, value: float) -> LimitVerdict:
    settings = VerdictSettings((metric,), limits={metric: bound})
    [found] = judge_limits(settings, [engine(metric, value), engine(metric)])
    return found


def test_a_limit_on_a_value_of_the_run_is_decided_at_once() -> None:
    assert [limit(ONCE, 10.0, value).status for value in (5.0, 10.0, 20.0)] == [
        Status.OK, Status.NOISY, Status.BEYOND_LIMIT,
    ]  # fmt: skip
    assert limit(EXACT, 3.0, 4.0).status is Status.BEYOND_LIMIT
    assert limit(EXACT, 3.0, 3.0).status is Status.OK


def test_a_metric_that_one_side_lacks_is_never_ok() -> None:
    settings = VerdictSettings((EACH, "ttft.p50"))
    evidence = Evidence(sessions(EACH, [[10.0] * 3]), [engine(EACH)], settings)
    found = judge(evidence)
    assert found.status is Status.INVALID
    evidence = Evidence(sessions("other [lower]", [[10.0] * 3]), [engine(EACH, 10.0)], settings)
    found = judge(evidence)
    assert found.status is Status.INVALID
    assert found.metrics[0].reason.startswith("its baseline has no value for it")
