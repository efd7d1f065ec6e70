"""Checks that are judged by a reference, measured in turns: what reaches the judge, and what is told beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from pytest_vllmperf.checking import check as checking
from pytest_vllmperf.checking import settling
from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.outcome import conclude
from pytest_vllmperf.checking.plan import InRun, Purpose, plan
from pytest_vllmperf.checking.settling import settle
from pytest_vllmperf.errors import ReferenceEngineError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.samples import Entry, Environment, Judging
from pytest_vllmperf.records.settings import DEFAULTS, CheckSettings, Settings, Update
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.verdict import Evidence, judge
from tests.checking.test_settling import BASELINE, HOT, METRIC, SITE, WORK, measurement, samples, take

NAME = "vLLM 0.29.0 of /stable/bin/python"


def in_turns(model: str = "a") -> Take:
    """How such a measurement was made."""
    alone = take(model)
    targets = (alone.target, replace(alone.target, reference=True))
    return replace(alone, sharing=Sharing(Way.RESIDENT, targets), against=NAME)


def measured(level: float = 100.0, reference: float = 100.0, seed: int = 0, **more: Any) -> Measurement:
    environment = Environment(hard=more.pop("hard", {}), soft={"version of vllm": "0.29.0"})
    found = Reference(NAME, "both resident", environment, (samples(reference, seed + 500),))
    return replace(measurement(level, seed), reference=found, made_with=in_turns(), **more)


def settings(**more: Any) -> Settings:
    return Settings(more.pop("update", Update.NONE), more.pop("folder", None), DEFAULTS, **more)


STORED = Entry(engine="e", workload={}, judging=Judging(gate=[METRIC], margin=0.05), sessions=BASELINE)


def checked(run: Measurement, stored: Entry | None = None, **more: Any) -> Check:
    own = CheckSettings(gate=(METRIC,)).over(DEFAULTS)
    return Check(plan(SITE, run, stored, own, settings(**more), InRun(lambda *_: 1, lambda *_: {}, lambda _: [])), run)


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """What reaches the judge, who wants three rounds of what has a reference, and then says REGRESSED."""
    seen: list[Evidence] = []

    def noted(one: Evidence) -> Verdict:
        seen.append(one)
        if not one.reference or one.problems or one.differences:
            return judge(one)
        status = Status.REGRESSED if len(one.engines) > 2 else Status.UNDECIDED
        metric = MetricVerdict(METRIC, status, 100.0, 80.0, 0.05, -0.2, engines=len(one.engines), against=one.against)
        return Verdict(status, (metric,))

    monkeypatch.setattr(checking, "judge", noted)
    return seen


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The further rounds that are measured."""
    asked: list[tuple[str, int]] = []

    def measure(perf: Lab, how: Take, number: int) -> Measurement:
        asked.append((how.target.spec.model, number))
        return replace(measured(80.0, 100.0, seed=number), made_with=how)

    monkeypatch.setattr(settling, "measure_timed", measure)
    monkeypatch.setattr(settling, "profiled", lambda _lab, _take, run: run)
    return asked


class Retiring:
    """A lab of which only that is asked."""

    def __init__(self) -> None:
        self.retired: list[tuple[bool, ...]] = []

    def retire(self, targets: Any) -> None:
        self.retired.append(tuple(target.reference for target in targets))


def test_engines_and_their_reference_stay_side_by_side(evidence: list[Evidence], rounds: list[tuple[str, int]]) -> None:
    perf, slow = Retiring(), checked(measured(80.0))
    assert slow.open
    settle(cast(Lab, perf), [slow], 1000.0)
    assert rounds == [("a", 2), ("a", 3)]
    assert perf.retired == [(False, True)] * 2  # a fresh start of both
    assert [len(one.engines) for one in evidence] == [len(one.reference) for one in evidence] == [1, 2, 3]
    last = evidence[-1]
    assert last.against == NAME
    assert [engine.samples[METRIC] for engine in last.reference[1:]] == [
        samples(100.0, seed).samples[METRIC] for seed in (502, 503)
    ]
    assert (last.sessions, last.differences) == ((), ())
    assert (slow.verdict.status, slow.open) == (Status.REGRESSED, False)


def test_checks_on_one_engine_share_each_pair(evidence: list[Evidence], rounds: list[tuple[str, int]]) -> None:
    perf = Retiring()
    settle(cast(Lab, perf), [checked(measured(80.0)), checked(measured(80.0))], 1000.0)
    assert rounds == [("a", 2), ("a", 2), ("a", 3), ("a", 3)]
    assert len(perf.retired) == 2


def test_with_and_without_a_reference_they_share_nothing(
    evidence: list[Evidence], rounds: list[tuple[str, int]]
) -> None:
    perf = Retiring()
    alone = replace(measured(80.0), reference=None, made_with=take())
    settle(cast(Lab, perf), [checked(measured(80.0)), checked(alone, STORED)], 1000.0)
    assert set(perf.retired) == {(False, True), (False,)}


def test_a_round_that_is_left_out_is_so_on_both_sides(evidence: list[Evidence]) -> None:
    slow = checked(measured(80.0))
    slow.add(measured(80.0, problems=HOT))
    assert slow.measurement.excluded == HOT
    assert slow.rounds == 2
    slow.add(measured(80.0))
    assert slow.measurement.reference is not None
    assert (len(slow.measurement.engines), len(slow.measurement.reference.engines)) == (2, 2)
    assert slow.rounds == 3


def test_it_is_judged_whatever_the_stored_baseline_which_says_what_engines_vary_by(evidence: list[Evidence]) -> None:
    for stored, sessions in ((None, []), (STORED, BASELINE)):
        assert checked(measured(), stored).plan.purpose is Purpose.JUDGE
        assert list(evidence[-1].sessions) == sessions
        assert len(evidence[-1].reference) == 1


def test_it_never_becomes_a_baseline(evidence: list[Evidence], rounds: list[tuple[str, int]]) -> None:
    """Runs that record are refused with a reference; should one come here, it is judged all the same."""
    for update, append in ((Update.ALL, False), (Update.NEW, False), (Update.NONE, True)):
        slow = checked(measured(80.0), update=update, append=append)
        assert (slow.plan.purpose, slow.plan.append, slow.plan.engines) == (Purpose.JUDGE, False, 1)


def test_a_reference_on_other_hardware_is_none() -> None:
    """A vLLM built for the CPU beside one that runs on the GPU."""
    other = checked(measured(80.0, hard={"device": "cpu"}), STORED)
    assert (other.verdict.status, other.verdict.reasons) == (Status.NOT_COMPARABLE, ("device: cpu -> none",))
    assert not other.open
    failure = conclude(other, settings())[1]
    assert failure is not None
    assert " ".join(failure.text.split()) == f"NOT_COMPARABLE test_a: with {NAME}: device: cpu -> none"


def test_differences_to_the_stored_baseline_do_not_matter(evidence: list[Evidence]) -> None:
    changed = Environment(hard={"gpu": "A100"}, soft={})
    run = replace(measured(80.0, hard={"gpu": "A100"}), environment=changed)
    slow = checked(run, STORED)
    assert (list(evidence[-1].differences), slow.open) == ([], True)
    assert list(evidence[-1].sessions) == []  # engines of other hardware vary otherwise
    told = slow.by_baseline()
    assert told is not None
    assert (told.status, told.reasons) == (Status.NOT_COMPARABLE, ("gpu: none -> A100",))


@pytest.mark.parametrize(("level", "status"), [(100.0, Status.OK), (60.0, Status.REGRESSED)])
def test_what_the_stored_baseline_says_is_told_and_does_not_decide(
    evidence: list[Evidence], rounds: list[tuple[str, int]], level: float, status: Status
) -> None:
    slow = checked(measured(level), STORED)
    for _ in range(2):
        slow.add(measured(level))
    record, failure = conclude(slow, settings())
    assert record.verdict.status is Status.REGRESSED
    assert record.by_baseline is not None
    assert record.by_baseline.status is status
    assert record.reference is not None
    assert record.reference.name == NAME
    assert failure is not None
    assert f"stored baseline (does not decide here): {status.value}" in failure.text
    assert "reference and engine differ:" in failure.text
    assert "version of vllm: 0.29.0 -> none" in failure.text
    assert "changed since" not in failure.text


def test_without_a_stored_baseline_nothing_is_told(evidence: list[Evidence]) -> None:
    assert checked(measured()).by_baseline() is None
    assert checked(replace(measured(), reference=None), STORED).by_baseline() is None
    assert checked(measured(problems=HOT), STORED).by_baseline() is None


def test_a_reference_that_fails_later_ends_its_check(evidence: list[Evidence], monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: Any) -> Measurement:
        raise ReferenceEngineError("the reference cannot", "its log")

    monkeypatch.setattr(settling, "measure_timed", measure)
    monkeypatch.setattr(settling, "profiled", lambda _lab, _take, run: run)
    slow = checked(measured(80.0), STORED)
    settle(cast(Lab, Retiring()), [slow], 1000.0)
    record, failure = conclude(slow, settings())
    assert (record.verdict.status, record.by_baseline) == (Status.INVALID, None)
    assert failure is not None
    assert (failure.text, failure.log_tail) == ("test_a: measured again: the reference cannot", "its log")


def test_the_workload_is_the_same(evidence: list[Evidence]) -> None:
    how = checked(measured()).take
    assert how is not None
    assert (how.workload, len(how.targets)) == (WORK, 2)
