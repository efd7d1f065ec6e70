"""Custom metrics: nothing is known of their noise, so that the first sessions are judged with care."""

from __future__ import annotations

import pytest

from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.verdict import LimitVerdict, MetricVerdict, Status
from pytest_vllmperf.stats import UNKNOWN, WALL_CLOCK, Prior
from pytest_vllmperf.verdict import Evidence, VerdictSettings, family_a_fail, judge
from pytest_vllmperf.verdict.limits import judge_limits
from tests.verdict.conftest import bench

ONCE, EACH, EXACT = "steps [ms, lower, once]", "steps [ms, lower]", "builds [lower, exact, once]"
TRIALS = 500

simulation = bench("custom_metrics")


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


def share(case: object, statuses: tuple[Status, ...], prior: Prior = UNKNOWN) -> float:
    found = simulation.verdicts(case, TRIALS, 7, prior)
    assert found.total() == TRIALS
    return sum(found[one] for one in statuses) / TRIALS


@pytest.mark.parametrize(
    ("noise", "stored", "starts", "most"),
    [
        (0.02, 1, 1, 0.005),
        (0.05, 1, 1, 0.01),
        (0.1, 1, 1, 0.06),
        (0.02, 1, 3, 0.005),
        (0.05, 1, 3, 0.03),
        (0.1, 1, 3, 0.1),
    ],
)
def test_noise_alone_is_rarely_a_regression(noise: float, stored: int, starts: int, most: float) -> None:
    assert share(simulation.Case(noise, stored, starts), simulation.BAD) <= most


def test_the_prior_of_a_wall_clock_would_not_do() -> None:
    case = simulation.Case(0.1, 1, 1)
    assert share(case, simulation.BAD, WALL_CLOCK) > 3 * share(case, simulation.BAD)


def test_a_change_that_noise_does_not_explain_is_found_and_does_not_pass_in_silence() -> None:
    assert share(simulation.Case(0.01, 6, 1, 0.25), simulation.BAD) > 0.99
    assert share(simulation.Case(0.01, 1, 3, 0.25), simulation.BAD) > 0.95
    for stored in (1, 6):
        assert share(simulation.Case(0.02, stored, 1, 0.25), (Status.OK, Status.IMPROVED)) == 0


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
