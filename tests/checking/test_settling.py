"""Fresh engines for open checks, with a fake session and a fake clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.plan import Plan, Purpose, Site
from pytest_vllmperf.checking.settling import settle
from pytest_vllmperf.errors import EngineDiedError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.verdict import VerdictSettings
from pytest_vllmperf.workload import Workload

METRIC = "output_throughput"
UNCLEAR = 95.3
"""Within the margin of 5 %, but by less than noise: d < M, so that it is no regression, and M < d + q(0.90)."""
ENVIRONMENT = Environment(hard={}, soft={})
WORK = Workload.synthetic(requests=1, input_tokens=8, output_tokens=4)


HOT = (Problem("throttling", "the GPU ran hot"), Problem("clocks", "its clock went down"))
BUSY, SHORT = Problem("processes", "it was busy"), Problem("length", "cut short")


def samples(level: float, seed: int = 0) -> EngineSamples:
    noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, 10))
    return EngineSamples(discarded=2, iterations=10, samples={METRIC: (level * noise).tolist()})


BASELINE = [
    Session(recorded="", environment=ENVIRONMENT, engines=[samples(100.0, 3 * day + n) for n in range(3)])
    for day in range(5)
]


def measurement(level: float, seed: int = 0, problems: tuple[Problem, ...] = ()) -> Measurement:
    return Measurement("m", "cuda", "h200", {}, ENVIRONMENT, (samples(level, seed),), problems)


class FakeSession:
    """Measures what it is told to, and writes down what was asked of it; `hot` says which measurements are void."""

    def __init__(self, levels: dict[str, float], seconds: float = 1.0) -> None:
        self.levels = levels
        self.seconds = seconds
        self.now = 0.0
        self.asked: list[str] = []
        self.profiled: list[str] = []
        self.allowed: list[Sequence[str]] = []
        self.fails: set[str] = set()
        self.hot: list[bool] = []

    def retire(self, targets: Sequence[Target]) -> None:
        self.asked.append("fresh " + targets[0].spec.model)

    def measure(
        self, target: Target, workload: Workload, settings: MeasureSettings, allowed: Sequence[str]
    ) -> Measurement:
        self.asked.append(target.spec.model)
        self.allowed.append(allowed)
        self.now += self.seconds
        if target.spec.model in self.fails:
            raise EngineDiedError("it died")
        made = measurement(self.levels[target.spec.model], seed=len(self.asked))
        hot = self.hot.pop(0) if self.hot else False
        return replace(made, problems=HOT) if hot else made

    def profile(
        self, target: Target, workload: Workload, settings: MeasureSettings, run: Measurement, allowed: Sequence[str]
    ) -> Measurement:
        self.profiled.append(f"{target.spec.model} after {len(self.asked)}")
        self.now += 0.5 * self.seconds * bool(settings.device_pass)
        return run


SITE = Site("tests/test_a.py", "test_a", "pytest --vllmperf-update-new tests/test_a.py::test_a", ("test_a.py", 1))


def take(model: str = "a", allowed: tuple[str, ...] = ()) -> Take:
    return Take(Target(EngineSpec.create(model, backend="simulated")), WORK, MeasureSettings(device_pass=0), allowed)


def plan(*, judged: bool = True, **more: Any) -> Plan:
    purpose = Purpose.JUDGE if judged else Purpose.RECORD
    chosen = {"baseline": tuple(BASELINE), "settings": VerdictSettings((METRIC,)), **more}
    return Plan(site=SITE, purpose=purpose, **chosen)


def check(model: str = "a", level: float = 100.0, allowed: tuple[str, ...] = (), **more: Any) -> Check:
    return Check(plan(**more), replace(measurement(level), made_with=take(model, allowed)))


def run(session: FakeSession, checks: Sequence[Check], max_time: float = 1000.0) -> None:
    settle(cast(Lab, session), checks, max_time, lambda: session.now)


def test_what_the_first_engine_decided_is_left_alone() -> None:
    session, done = FakeSession({"a": 100.0}), check()
    assert (done.open, done.verdict.status) == (False, Status.OK)
    run(session, [done])
    assert session.asked == []


def test_an_open_check_gets_engines_until_it_is_decided() -> None:
    session, slow = FakeSession({"a": 80.0}), check(level=80.0)
    assert slow.open
    run(session, [slow])
    assert session.asked == ["fresh a", "a"] * 2
    assert (slow.verdict.status, len(slow.measurement.engines)) == (Status.REGRESSED, 3)


def test_checks_of_one_kind_share_each_engine() -> None:
    session = FakeSession({"a": 80.0, "b": 80.0})
    first, second, other, done = check("a", 80.0), check("a", 80.0), check("b", 80.0), check("a")
    run(session, [first, second, other, done])
    assert session.asked == ["fresh a", "a", "a"] * 2 + ["fresh b", "b"] * 2
    assert len(done.measurement.engines) == 1


def test_all_checks_are_timed_on_an_engine_before_it_is_profiled() -> None:
    session = FakeSession({"a": 80.0})
    run(session, [check("a", 80.0), check("a", 80.0)])
    assert session.profiled == ["a after 3", "a after 3", "a after 6", "a after 6"]


def test_a_recording_goes_on_to_the_number_it_wants() -> None:
    session, recorded = FakeSession({"a": 100.0}), check(judged=False, engines=4)
    assert recorded.open
    run(session, [recorded])
    assert (len(recorded.measurement.engines), recorded.verdict.status, recorded.open) == (4, Status.RECORDED, False)


def test_an_appended_session_is_judged_once_it_is_whole() -> None:
    session, appended = FakeSession({"a": 100.0}), check(engines=3)
    assert (appended.open, appended.verdict.status) == (True, Status.UNDECIDED)
    run(session, [appended])
    assert (appended.verdict.status, appended.verdict.metrics[0].engines) == (Status.OK, 3)


def test_after_the_last_engine_it_is_noisy() -> None:
    session, unclear = FakeSession({"a": UNCLEAR}), check(level=UNCLEAR)
    run(session, [unclear])
    assert (unclear.verdict.status, len(unclear.measurement.engines)) == (Status.NOISY, 6)


@pytest.mark.parametrize(("max_time", "engines"), [(0.0, 1), (1.0, 2), (19.9, 2), (20.0, 2), (20.1, 3), (30.1, 4)])
def test_no_engine_is_started_that_would_go_beyond_the_time(max_time: float, engines: int) -> None:
    session, unclear = FakeSession({"a": UNCLEAR}, seconds=10.0), check(level=UNCLEAR)
    run(session, [unclear], max_time)
    assert len(unclear.measurement.engines) == engines
    assert unclear.verdict.status is Status.NOISY
    assert unclear.spent == 10.0 * (engines - 1)


def test_each_kind_of_engine_has_the_time_for_itself() -> None:
    session = FakeSession({"a": UNCLEAR, "b": UNCLEAR}, seconds=10.0)
    checks = [check("a", UNCLEAR), check("b", UNCLEAR)]
    run(session, checks, 20.1)
    assert [len(one.measurement.engines) for one in checks] == [3, 3]


def test_a_recording_that_ran_out_of_time_is_closed() -> None:
    session, recorded = FakeSession({"a": 100.0}), check(judged=False, engines=3)
    run(session, [recorded], 0.0)
    assert (recorded.open, recorded.closed, len(recorded.measurement.engines)) == (False, True, 1)
    assert recorded.verdict.status is Status.INVALID
    assert recorded.verdict.reasons == (
        "nothing was recorded: 1 engine start counts, and a baseline needs at least 3; raise --vllmperf-max-time",
    )


def test_an_engine_that_dies_ends_its_check_and_no_other() -> None:
    session = FakeSession({"a": 80.0, "b": 80.0})
    session.fails = {"b"}
    dying, going_on = check("b", 80.0), check("a", 80.0)
    run(session, [dying, going_on])
    assert str(dying.error) == "it died"
    assert not dying.open
    assert (going_on.error, going_on.verdict.status) == (None, Status.REGRESSED)


def test_one_engine_that_met_what_another_does_not_is_left_out_and_told() -> None:
    session, slow = FakeSession({"a": 80.0}), check(level=80.0)
    session.hot = [True]
    run(session, [slow])
    assert session.asked == ["fresh a", "a"] * 3
    assert slow.measurement.excluded == HOT
    assert slow.measurement.problems == ()
    assert (slow.verdict.status, len(slow.measurement.engines)) == (Status.REGRESSED, 3)


def test_a_second_one_voids_the_measurement() -> None:
    session, slow = FakeSession({"a": 80.0}), check(level=80.0)
    session.hot = [True, True]
    run(session, [slow])
    assert session.asked == ["fresh a", "a"] * 2
    assert (slow.verdict.status, slow.verdict.reasons) == (Status.INVALID, tuple(map(str, HOT)))


def test_where_the_first_engine_was_replaced_already_no_other_is_left_out() -> None:
    slow = check(level=80.0)
    slow.measurement = replace(slow.measurement, excluded=(BUSY,))
    session = FakeSession({"a": 80.0})
    session.hot = [True]
    run(session, [slow])
    assert slow.measurement.excluded == (BUSY,)
    assert slow.verdict.status is Status.INVALID


def test_an_engine_is_left_out_of_the_check_that_it_spoiled_alone() -> None:
    session, first, second = FakeSession({"a": 80.0}), check(level=80.0), check(level=80.0)
    session.hot = [True, False, False, False]
    run(session, [first, second])
    assert [one.measurement.excluded for one in (first, second)] == [HOT, ()]
    assert [len(one.measurement.engines) for one in (first, second)] == [3, 3]
    assert session.asked == ["fresh a", "a", "a", "fresh a", "a", "a", "fresh a", "a"]


def test_what_would_be_met_again_is_not_left_out() -> None:
    slow = check(level=80.0)
    slow.add(measurement(80.0, problems=(SHORT,)))
    assert slow.measurement.excluded == ()
    assert slow.verdict.status is Status.INVALID


def test_an_engine_left_out_takes_its_time_all_the_same() -> None:
    session, recorded = FakeSession({"a": 100.0}, seconds=10.0), check(judged=False, engines=3)
    session.hot = [True]
    run(session, [recorded], 20.1)
    assert (len(recorded.measurement.engines), recorded.spent, recorded.closed) == (2, 20.0, True)


def test_rules_that_are_turned_off_stay_so_on_every_engine() -> None:
    session, slow = FakeSession({"a": 80.0}), check(level=80.0, allowed=("preemptions",))
    run(session, [slow])
    assert session.allowed == [("preemptions",)] * 2
