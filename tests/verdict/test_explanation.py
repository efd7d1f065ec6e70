"""Explanations show the numbers of the verdict, and no others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Status
from pytest_vllmperf.stats import EngineTable, Prior, fit
from pytest_vllmperf.verdict import STATUSES, Evidence, RuleSettings, VerdictSettings, judge, look
from pytest_vllmperf.verdict.check import judge_keeping
from pytest_vllmperf.verdict.explanation import ENGINES, MIN_ENGINES, STORED_ENGINES, Clause, Explanation, explain

THROUGHPUT, TTFT, STEPS = "output_throughput", "ttft.p50", "engine_steps"
GATE = (THROUGHPUT, TTFT)
QUIET = Prior(0.0025, 0.4, 0.002, 0.5, 0.0005, metrics=80, sessions=7)


def engine(value: float, *, steps: float = 17.0, rng: np.random.Generator | None = None) -> EngineSamples:
    """One engine that is slower by `value`, log units."""
    noise = np.zeros(8) if rng is None else rng.normal(0, 0.005, 8)
    ttft = np.exp(value + noise) * np.linspace(0.1, 0.4, 8)
    return EngineSamples(
        discarded=2,
        iterations=4,
        samples={
            THROUGHPUT: (1000 * np.exp(-value + noise[:4])).tolist(),
            TTFT: [float(np.median(ttft))] * 4,
            STEPS: [steps] * 4,
        },
        ttft_by_request=ttft.tolist(),
    )


def session(engines: list[EngineSamples], day: int = 0, dropped: int = 0) -> Session:
    return Session(
        recorded=f"2026-01-{day + 1:02}T00:00:00", environment=Environment(hard={}, soft={}), engines=engines,
        dropped=dropped,
    )  # fmt: skip


def sessions(count: int, rng: np.random.Generator, step: float = 0.0, sd: float = 0.01) -> list[Session]:
    """Sessions of three engines, each slower than the one before it by `step`."""
    return [
        session([engine(rng.normal(0, sd) / 2 + at, rng=rng) for _ in range(3)], day)
        for day in range(count)
        for at in [rng.normal(0, sd) / 2 + step * day]
    ]


def simulated(trials: int = 80) -> Iterator[Evidence]:
    """Checks of all kinds: short and long baselines, quiet and noisy, as fast, faster, slower, and slowing down."""
    rng = np.random.default_rng(11)
    for _ in range(trials):
        stored, new = int(rng.choice([1, 2, 5, 9, 9])), int(rng.choice([1, 2, 3, 4, 6, 7]))
        step, sd = float(rng.choice([0.0, 0.012])), float(rng.choice([0.003, 0.012, 0.05]))
        change = float(rng.choice([-0.2, 0.0, 0.0, 0.045, 0.06, 0.2])) + step * stored
        history = sessions(stored, rng, step, sd)
        fresh = [engine(change + rng.normal(0, sd / 2), rng=rng) for _ in range(new)]
        priors = dict.fromkeys(MetricClass, QUIET) if sd < 0.01 else {}
        settings = VerdictSettings(GATE, margin=float(rng.choice([0.01, 0.05])), priors=priors)
        yield Evidence(history, fresh, settings, last_look=True)


def explained(evidence: Evidence) -> dict[str, Explanation]:
    return explain(judge_keeping(evidence))


def fails_in_numbers_of_engines_alone(clause: Clause) -> bool:
    return [one.right for one in clause.inequalities if not one.holds] == [MIN_ENGINES]


def test_each_look_is_decided_by_the_first_clause_that_holds() -> None:
    seen = set()
    for evidence in simulated():
        for one in explained(evidence).values():
            for found in one.looks:
                seen.add(found.status)
                if (clause := found.decided_by) is not None:
                    assert clause.status is found.status
                else:
                    assert found.status is (Status.UNDECIDED if found.engines < 6 else Status.NOISY)
    assert seen == {
        Status.OK, Status.IMPROVED, Status.NOISY, Status.UNDECIDED, Status.DRIFTED, Status.REGRESSED
    }  # fmt: skip


def test_the_last_look_is_the_verdict_and_an_open_one_is_closed_as_the_command_closes_it() -> None:
    changed = set()
    for evidence in simulated():
        open_ended = {one.metric: one for one in judge(replace(evidence, last_look=False)).metrics}
        judged = judge_keeping(evidence)
        final = {one.metric: one for one in judged.verdict.metrics}
        for name, one in explain(judged).items():
            last = one.looks[-1]
            assert one.status is final[name].status
            if last.engines < 6:  # from six on, the check itself closes what is open
                assert last.status is open_ended[name].status
            if one.status is not last.status:
                changed.add(one.status)
                (regressed,) = (clause for clause in last.clauses if clause.status is Status.REGRESSED)
                assert last.status in (Status.UNDECIDED, Status.NOISY)
                assert (one.status is Status.REGRESSED) == fails_in_numbers_of_engines_alone(regressed)
    assert changed == {Status.NOISY, Status.REGRESSED}


def test_the_numbers_are_those_of_the_verdict() -> None:
    for evidence in simulated(20):
        found = explained(evidence)
        for judged in judge(evidence).metrics:
            one = found[judged.metric]
            assert one.model is not None
            assert judged.noise is not None
            sign, last = -1 if judged.metric == THROUGHPUT else 1, one.looks[-1]
            assert last.change == pytest.approx(judged.change, rel=1e-12)
            ends = sorted(math.expm1(sign * (last.difference + reach)) for reach in (-last.fail_reach, last.fail_reach))
            assert (judged.low, judged.high) == pytest.approx(tuple(ends), rel=1e-9, abs=1e-12)
            assert (one.model.session_sd, one.model.engine_sd) == pytest.approx(
                (judged.noise.session_sd, judged.noise.engine_sd), rel=1e-12
            )
            assert (one.prior, one.margin) == (judged.noise.prior, judged.margin)


def test_each_look_is_what_so_many_engines_would_have_given() -> None:
    for evidence in simulated(20):
        found = explained(evidence)
        for count in range(1, min(len(evidence.engines), 5) + 1):
            earlier = judge(replace(evidence, engines=evidence.engines[:count], last_look=False))
            statuses = {one.metric: one.status for one in earlier.metrics}
            assert {name: one.looks[count - 1].status for name, one in found.items()} == statuses


def test_it_is_enough_to_compute_the_verdict_anew() -> None:
    """Model and looks out of the stored values, layout, hyperparameters and settings of an explanation alone."""
    for evidence in simulated(20):
        for one in explained(evidence).values():
            model, budget = one.model, one.budget
            assert model is not None
            assert budget is not None
            assert one.prior is not None
            values = np.array([[value for values in model.engines_log for value in values]])
            settings = RuleSettings(a_fail=budget.a_fail, a_pass=budget.a_pass, prior=one.prior)
            fitted = fit(EngineTable(values, model.layout, np.zeros(1)), one.prior, model.gap)
            again = look(fitted, np.array([model.new_log]), np.array([one.log_margin]), settings)
            last = one.looks[-1]
            assert STATUSES[again.codes[0]] is last.status
            assert (again.difference[0], again.fail_reach[0]) == (last.difference, last.fail_reach)


RNG = np.random.default_rng(3)
STORED = sessions(5, RNG, sd=0.004)
NEW = [engine(RNG.normal(0, 0.002)) for _ in range(3)]


def of(name: str, stored: list[Session], new: list[EngineSamples], **more: Any) -> Explanation:
    settings = VerdictSettings((name,), **more)
    return explained(Evidence(stored, new, settings, last_look=True))[name]


def test_what_was_pulled_in_is_told() -> None:
    plain = of(THROUGHPUT, STORED, NEW).model
    assert plain is not None
    assert not any((*plain.sessions_pulled_log, plain.level_pulled_log))
    assert plain.level_log == pytest.approx(np.mean(plain.sessions_log))
    assert plain.sessions[2] == pytest.approx(math.exp(-plain.sessions_log[2]))

    wild = [*STORED[:2], session([*STORED[2].engines[:2], engine(0.4)]), *STORED[3:]]
    found = of(THROUGHPUT, wild, NEW).model
    assert found is not None
    assert [bool(moved) for moved in found.sessions_pulled_log] == [False, False, True, False, False]
    assert found.sessions_pulled_log[2] < -0.05  # a third of what lies beyond 3.5 standard deviations
    assert found.sessions_log[2] == pytest.approx(np.mean(found.engines_log[2]) + found.sessions_pulled_log[2])

    apart = [*STORED[:2], session([engine(0.4)] * 3), *STORED[3:]]
    found = of(THROUGHPUT, apart, NEW).model
    assert found is not None
    assert found.level_pulled_log < -0.03
    assert found.level_log == pytest.approx(np.mean(found.sessions_log) + found.level_pulled_log)


def test_groups_gaps_and_the_anchor() -> None:
    groups = [session([engine(0.001), engine(0.002), engine(0.1)], day) for day in range(5)]
    found = of(THROUGHPUT, groups, NEW).model
    assert found is not None
    assert found.multimodal
    assert not any(found.sessions_pulled_log)
    long = sessions(9, np.random.default_rng(1))
    long[5] = session(long[5].engines, 5, dropped=12)
    found = of(THROUGHPUT, long, NEW).model
    assert found is not None
    assert (found.anchor, found.layout, found.gap) == (5, (3,) * 9, (5, 12))


def test_questions_about_creeping_are_told_where_they_are_asked() -> None:
    asked = {count: of(THROUGHPUT, sessions(count, np.random.default_rng(5)), NEW) for count in (1, 3, 4, 8)}
    questions = {count: [answer.question for answer in one.looks[-1].creep] for count, one in asked.items()}
    assert questions == {1: [], 3: [], 4: ["trend"], 8: ["trend", "recent", "jump"]}
    crept = sessions(9, np.random.default_rng(5), step=0.01, sd=0.002)
    one = of(THROUGHPUT, crept, [engine(0.09 + shift) for shift in (-0.001, 0.0, 0.001)])
    assert one.status is Status.DRIFTED
    clause = one.looks[-1].decided_by
    assert clause is not None
    assert [(held.left, held.right) for held in clause.inequalities] == [
        (ENGINES, MIN_ENGINES), ("trend loss", "M"), ("trend loss", "q(0.99875)"), ("d", "0.5 M"), ("jump", "M")
    ]  # fmt: skip
    assert one.looks[-1].creep[0].loss == clause.inequalities[1].value


def test_most_of_a_loss_may_have_been_there_before() -> None:
    """Neither question finds it: two of six sessions lie lower, and the new one lies where they do."""
    levels = [0.0] * 4 + [0.057] * 3
    stored = [session([engine(level + shift) for shift in (-0.002, 0.0, 0.002)]) for level in levels[:-1]]
    new = [engine(levels[-1] + shift) for shift in (-0.002, 0.0, 0.002)]
    one = of(THROUGHPUT, stored, new, margin=0.02, priors=dict.fromkeys(MetricClass, QUIET))
    clause = one.looks[-1].decided_by
    assert one.status is Status.DRIFTED
    assert clause is not None
    assert [(held.left, held.right) for held in clause.inequalities[1:]] == [
        ("d", "M"), ("d", "q(0.995)"), ("jump", "M"), ("before", "d / 2")
    ]  # fmt: skip


def test_too_few_stored_engines_are_named() -> None:
    """Of three starts two had measured the metric."""
    stored = [
        session([engine(0.0), engine(0.01), EngineSamples(discarded=2, iterations=4, samples={STEPS: [17.0] * 4})])
    ]
    one = of(THROUGHPUT, stored, [engine(0.5)] * 3)
    (regressed,) = (clause for clause in one.looks[-1].clauses if clause.status is Status.REGRESSED)
    few = regressed.inequalities[0]
    assert (few.left, few.value, few.limit, few.holds) == (STORED_ENGINES, 2, 3, False)
    assert one.status is Status.REGRESSED


def test_requests_are_paired() -> None:
    one = of(TTFT, STORED, NEW)
    assert one.paired
    assert one.model is not None
    assert all(0.9 < level < 1.1 for level in one.model.sessions)
    assert not of(THROUGHPUT, STORED, NEW).paired


@pytest.mark.parametrize(
    ("steps", "status", "looks", "places"),
    [
        ((17.0, 17.0), Status.OK, "OK OK", (0, 2, 0)),
        ((18.0, 18.0), Status.REGRESSED, "UNDECIDED REGRESSED", (0, 0, 2)),
        ((18.0, 17.0), Status.NOISY, "UNDECIDED NOISY", (0, 1, 1)),
        ((16.0,), Status.NOISY, "UNDECIDED", (1, 0, 0)),
    ],
)
def test_exact_metrics(steps: tuple[float, ...], status: Status, looks: str, places: tuple[int, int, int]) -> None:
    one = of(STEPS, STORED, [engine(0.0, steps=number) for number in steps])
    assert one.status is status
    assert (one.model, one.looks) == (None, ())
    assert one.exact is not None
    assert (one.exact.stored, one.exact.new, one.exact.low, one.exact.high) == ((17.0,) * 15, steps, 17.0, 17.0)
    assert " ".join(one.exact.looks) == looks
    assert (one.exact.below, one.exact.within, one.exact.above) == places
    wide = of(STEPS, STORED, [engine(0.0, steps=18.0)], margins={STEPS: 0.1})
    assert wide.exact is not None
    assert (wide.status, wide.exact.low, wide.exact.high) == (Status.OK, pytest.approx(15.3), pytest.approx(18.7))


def test_a_metric_that_was_not_judged_has_its_reason_alone() -> None:
    bare = EngineSamples(discarded=2, iterations=4, samples={STEPS: [17.0] * 4})
    one = of(THROUGHPUT, STORED, [bare])
    assert (one.status, one.reason) == (Status.INVALID, "it was measured on one side only")
    assert (one.model, one.exact, one.looks) == (None, None, ())


def test_where_nothing_was_judged_nothing_is_explained() -> None:
    assert explained(Evidence([], NEW, VerdictSettings(GATE))) == {}
    assert explained(Evidence(STORED, NEW, VerdictSettings(GATE), differences=["gpu: A -> B"])) == {}


def test_every_gated_metric_and_no_other_is_explained() -> None:
    verdict = judge(Evidence(STORED, NEW, VerdictSettings((THROUGHPUT, STEPS)), last_look=True))
    gated: list[MetricVerdict] = list(verdict.metrics)
    assert verdict.information
    found = explained(Evidence(STORED, NEW, VerdictSettings((THROUGHPUT, STEPS)), last_look=True))
    assert list(found) == [one.metric for one in gated] == [THROUGHPUT, STEPS]
