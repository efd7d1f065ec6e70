"""A check whose baseline creeps, session by session, as it is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import Drift, Status
from pytest_vllmperf.verdict import Evidence, VerdictSettings, judge, outlook
from pytest_vllmperf.verdict.samples import metric_samples
from tests.verdict.samples import THROUGHPUT, TPOT, of, session


def engine(cost: float, n: int = 0) -> EngineSamples:
    """Next to no noise: engine n is 0.2 % off."""
    cost *= 1 + 0.002 * (n % 3 - 1)
    return EngineSamples(discarded=0, iterations=2, samples={THROUGHPUT: [1000 / cost] * 2, TPOT: [0.02] * 2})


def stored(*costs: float, dropped: int = 0) -> list[Session]:
    """A session for each level, the first of 2 January; `dropped` are missing after the fifth."""
    return [
        session([engine(cost, n) for n in range(3)]).model_copy(
            update={"recorded": f"2026-01-{day + 2:02}", "dropped": dropped * (day == 5)}
        )
        for day, cost in enumerate(costs)
    ]


def evidence(sessions: list[Session], cost: float, count: int = 3) -> Evidence:
    return Evidence(sessions, [engine(cost, n) for n in range(count)], VerdictSettings((THROUGHPUT, TPOT)))


CREPT = [1.006**day for day in range(10)]


def test_a_drift_says_since_when_and_over_how_many_sessions() -> None:
    verdict = judge(evidence(stored(*CREPT), 1.006**10))
    assert verdict.status is Status.DRIFTED
    found = of(verdict, THROUGHPUT)
    assert found.drift == Drift(pytest.approx(1 / 1.006**10 - 1, abs=0.004), "2026-01-02", 11)
    assert found.change is not None
    assert found.change > found.drift.change, "against the anchor, which has crept too"
    assert of(verdict, TPOT).status is Status.OK
    assert of(verdict, TPOT).drift is None
    assert not verdict.agrees


def test_sessions_that_are_not_stored_any_more_count_as_well() -> None:
    times = [*range(5), *range(17, 21)]
    sessions = stored(*(1.003**day for day in times), dropped=12)
    found = of(judge(evidence(sessions, 1.003**21)), THROUGHPUT)
    assert found.drift == Drift(pytest.approx(1 / 1.003**21 - 1, abs=0.003), "2026-01-02", 22)


def test_a_jump_has_no_drift() -> None:
    found = of(judge(evidence(stored(*[1.0] * 8), 1.1)), THROUGHPUT)
    assert (found.status, found.drift) == (Status.REGRESSED, None)


@pytest.mark.parametrize("count", [1, 2])
def test_a_drift_is_not_passed_before_three_engines_show_it(count: int) -> None:
    assert judge(evidence(stored(*CREPT), 1.006**10, count)).status is Status.UNDECIDED


@pytest.mark.parametrize(
    ("costs", "now", "status"),
    [(CREPT, 1.006**10, Status.DRIFTED), ([1.0] * 10, 1.1, Status.REGRESSED)],
)
def test_an_ok_that_more_engines_refute_is_taken_back(costs: list[float], now: float, status: Status) -> None:
    one = evidence(stored(*costs), now)
    lucky = judge(replace(one, engines=[engine(1.0)]))
    assert lucky.status is Status.OK
    after = judge(replace(one, previous=lucky))
    assert (after.status, of(after, THROUGHPUT).engines) == (status, 3)
    again = judge(replace(one, engines=[engine(1.0, n) for n in range(3)], previous=after))
    assert again.metrics[0] == after.metrics[0], "what is red stays so"


def test_a_red_metric_is_not_asked_again_where_another_waits() -> None:
    drifted = judge(evidence(stored(*CREPT), 1.006**10))
    assert of(judge(replace(evidence(stored(*CREPT), 1.0), previous=drifted)), THROUGHPUT).status is Status.DRIFTED


# --- sessions that are missing ------------------------------------------------------------------------------


def test_the_gap_is_where_a_session_says_so() -> None:
    metric = METRICS[THROUGHPUT]
    assert metric_samples(metric, stored(*[1.0] * 8), ()).gap is None
    assert metric_samples(metric, stored(*[1.0] * 8, dropped=7), ()).gap == (5, 7)


def test_the_outlook_does_not_take_a_gap_for_noise() -> None:
    costs = [1.0] * 5 + [1.04] * 4
    settings = VerdictSettings((THROUGHPUT,))
    (across,), (kept_out,) = (outlook(stored(*costs, dropped=n), settings) for n in (0, 30))
    assert kept_out.noise.session_sd < 0.7 * across.noise.session_sd
    assert kept_out.noise.detectable < across.noise.detectable
    judged = of(judge(Evidence(stored(*costs, dropped=30), [engine(1.0)], settings)), THROUGHPUT)
    assert judged.noise is not None
    assert judged.noise.session_sd == pytest.approx(kept_out.noise.session_sd)


def test_a_metric_that_came_later_than_the_gap_is_judged() -> None:
    sessions = stored(*[1.0] * 8, dropped=7)
    older = [
        s.model_copy(update={"engines": [e.model_copy(update={"samples": {TPOT: [0.02] * 2}}) for e in s.engines]})
        for s in sessions[:5]
    ]
    assert judge(evidence([*older, *sessions[5:]], 1.0)).status is Status.OK
