"""One check: what the first look decides, what it waits for, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.records.samples import Session
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.verdict import VerdictSettings
from tests.checking.test_settling import BASELINE, ENVIRONMENT, METRIC, check, measurement, plan, samples, take


def test_a_void_measurement_is_judged_at_once() -> None:
    void = Check(plan(judged=False, engines=3), measurement(100.0, problems=("cut short",)))
    assert (void.verdict.status, void.open) == (Status.INVALID, False)


@pytest.mark.parametrize(
    ("baseline", "differences", "status"),
    [((), (), Status.NO_BASELINE), (tuple(BASELINE), ("gpu: A -> B",), Status.NOT_COMPARABLE)],
)
def test_what_cannot_be_judged_needs_no_more_engines(
    baseline: tuple[Session, ...], differences: tuple[str, ...], status: Status
) -> None:
    without = check(baseline=baseline, differences=differences, engines=3)
    assert (without.verdict.status, without.open) == (status, False)


@pytest.mark.parametrize("starts", [1, 2])
def test_fewer_than_three_stored_engine_starts_are_no_baseline(starts: int) -> None:
    engines = [samples(100.0, seed) for seed in range(starts)]
    thin = check(level=30.0, baseline=(Session(recorded="", environment=ENVIRONMENT, engines=engines),))
    assert (thin.verdict.status, thin.open) == (Status.NO_BASELINE, False)
    assert thin.verdict.reasons[0].startswith(f"the baseline holds {starts} engine start")


def test_a_measurement_that_cannot_be_made_again_is_judged_as_it_is() -> None:
    """A change far beyond margin and noise is not passed as noise, though one engine alone shows it."""
    alone = [Check(plan(), measurement(level)) for level in (100.0, 95.5, 60.0)]
    assert [one.verdict.status for one in alone] == [Status.OK, Status.NOISY, Status.REGRESSED]
    assert not any(one.open for one in alone)


def test_a_measurement_that_cannot_be_made_again_is_no_baseline() -> None:
    alone = Check(plan(judged=False, engines=3), measurement(100.0))
    assert alone.verdict.status is Status.INVALID
    assert "pass check() what measure() returned" in alone.verdict.reasons[0]


def test_a_recording_goes_on_until_every_gated_metric_counts_on_enough_engines() -> None:
    """The first start is cold, and a load time of a cold start counts for nothing."""

    def start(number: int) -> object:
        cold = number == 0
        once = {"load_time": 2.0 + number / 10}
        return samples(100.0, number).model_copy(update={"cold_start": cold, "once": once})

    def measured(number: int) -> object:
        return replace(measurement(100.0), engines=(start(number),), made_with=take())

    settings = VerdictSettings((METRIC, "load_time"))
    recorded = Check(plan(judged=False, engines=3, settings=settings), measured(0))  # type: ignore[arg-type]
    for number in (1, 2, 3):
        assert recorded.open
        recorded.add(measured(number))  # type: ignore[arg-type]
    assert not recorded.open
    assert recorded.verdict.status is Status.RECORDED


def test_a_recording_names_a_metric_that_most_engines_lack() -> None:
    """Such as TPOT where a busy server sends whole answers at once: more time would not help."""

    def measured(number: int) -> object:
        have = {METRIC: samples(100.0, number).samples[METRIC], **({"tpot.p50": [0.1, 0.1]} if number < 2 else {})}
        return replace(
            measurement(100.0), engines=(samples(100.0).model_copy(update={"samples": have}),), made_with=take()
        )

    settings = VerdictSettings((METRIC, "tpot.p50"))
    recorded = Check(plan(judged=False, engines=3, settings=settings), measured(0))  # type: ignore[arg-type]
    for number in range(1, 6):
        assert recorded.open
        recorded.add(measured(number))  # type: ignore[arg-type]
    assert recorded.verdict.status is Status.INVALID
    assert recorded.verdict.reasons == (
        "nothing was recorded: 2 engine starts count, and a baseline needs at least 3; TPOT p50 was measured on 2 of 6 "
        "engine starts. Measure on a quiet machine, or leave it out of the gate",
    )


def test_an_early_ok_does_not_survive_engines_that_were_started_for_another_metric() -> None:
    settings = VerdictSettings((METRIC, "tpot.p50"))

    def both(first: float, second: float, seed: int) -> object:
        values = samples(first, seed)
        other = [second * value / first for value in values.samples[METRIC]]
        return values.model_copy(update={"samples": {**values.samples, "tpot.p50": other}})

    sessions = [
        Session(recorded="", environment=ENVIRONMENT, engines=[both(100.0, 0.01, 9 * day + n) for n in range(3)])
        for day in range(5)
    ]

    def measured(first: float, second: float, seed: int) -> object:
        return replace(measurement(100.0), engines=(both(first, second, seed),), made_with=take())

    lucky = Check(plan(settings=settings, baseline=tuple(sessions)), measured(100.0, 0.0115, 70))  # type: ignore[arg-type]
    assert {one.metric: one.status for one in lucky.verdict.metrics} == {
        METRIC: Status.OK,
        "tpot.p50": Status.UNDECIDED,
    }
    for seed in (71, 72):
        lucky.add(measured(70.0, 0.0115, seed))  # type: ignore[arg-type]
    assert {one.metric: one.status for one in lucky.verdict.metrics} == {
        METRIC: Status.REGRESSED,
        "tpot.p50": Status.REGRESSED,
    }
