"""Custom metrics of a check: plain names become keys, and what is not judged is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.checking.custom import (
    COMMAND_LINE,
    Where,
    custom_of,
    declared_differently,
    known_words,
    lost,
    resolved,
    resolved_for_some,
)
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.records.settings import CheckSettings

STEPS, ONCE, SECONDS = "steps [ms, lower]", "steps [ms, lower, once]", "steps [s, lower]"
ENVIRONMENT = Environment(hard={}, soft={})
CHECK = Where.of_check("test_chat")


def engines(*keys: str) -> tuple[EngineSamples, ...]:
    return (EngineSamples(discarded=0, iterations=1, samples={}, recorded={key: [1.0] for key in keys}),)


def run(*keys: str) -> Measurement:
    return Measurement("m", "cpu", "p", {}, ENVIRONMENT, engines(*keys))


def stored(*keys: str, gate: tuple[str, ...] = ("ttft.p50",)) -> Entry:
    session = Session(recorded="2026-01-01", environment=ENVIRONMENT, engines=list(engines(*keys)))
    return Entry(engine="m", workload={}, judging=Judging(gate=list(gate), margin=0.05), sessions=[session])


def found(now: Measurement, before: Entry | None = None, **how: bool):  # type: ignore[no-untyped-def]
    return custom_of(now, before, {}, **{"appends": False, "records": False, "alone": False, **how})


@pytest.mark.parametrize("before", [stored(STEPS), stored(gate=(STEPS,))], ids=["in a session", "in the gate"])
def test_what_the_baseline_holds_and_the_run_did_not_record_is_lost(before: Entry) -> None:
    [told] = lost(found(run(), before))
    assert told.startswith("the baseline holds steps, which this run did not record.")
    assert lost(found(run(STEPS), before)) == []
    assert lost(found(run(), None)) == []


def test_another_declaration_is_not_lost_but_differs() -> None:
    custom = found(run(SECONDS), stored(STEPS))
    assert lost(custom) == []
    assert declared_differently(custom) == ["steps: [ms, lower] -> [s, lower]"]


def test_a_value_of_the_run_cannot_be_set_against_a_reference() -> None:
    reference = Reference("stable", "", ENVIRONMENT, engines())
    custom = found(replace(run(ONCE), reference=reference))
    assert custom.dropped == (ONCE,)
    assert "steps is not judged: it has one value for the run, and none of the reference" in custom.notes[0]
    assert found(replace(run(STEPS), reference=reference)).dropped == ()


def test_a_session_that_may_join_brings_new_metrics() -> None:
    assert found(run(STEPS), stored(), appends=True).dropped == (STEPS,)
    assert found(run(STEPS), stored(STEPS), appends=True).dropped == ()
    assert found(run(STEPS), stored()).dropped == ()


def test_names_become_keys() -> None:
    own = CheckSettings(gate=("auto", "steps"), margins={"steps": 0.1, "ttft.p50": 0.2}, limits={"steps": 5.0})
    got = resolved(CHECK, own, [STEPS])
    assert (got.gate, got.margins, got.limits) == (
        ("auto", STEPS), {STEPS: 0.1, "ttft.p50": 0.2}, {STEPS: 5.0},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (CheckSettings(gate=("stepps",)), "test_chat: gate: no metric has the name 'stepps'; did you mean 'steps'"),
        (CheckSettings(margins={"x": 0.1}), "test_chat: margin: no metric has the name 'x'; a custom metric has to be"),
        (CheckSettings(limits={"x": None}), "test_chat: limits: no metric has the name 'x'"),
    ],
)
def test_a_name_that_nothing_has_is_refused(own: CheckSettings, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolved(CHECK, own, [STEPS])


def test_a_limit_that_would_always_hold_is_refused() -> None:
    with pytest.raises(SpecError, match=r"hits .*a limit of 0 would always hold"):
        resolved(CHECK, CheckSettings(limits={"hits": 0.0}), ["hits [share, higher]"])
    with pytest.raises(SpecError, match="its limit must be at most 1, not 95"):
        resolved(CHECK, CheckSettings(limits={"hits": 95.0}), ["hits [share, higher]"])


def test_settings_for_several_checks_concern_those_that_have_the_metric() -> None:
    own = CheckSettings(gate=("clock", "steps"), limits={"steps": 5.0})
    one, other = resolved_for_some(COMMAND_LINE, own, [[STEPS], []])
    assert (one.gate, one.limits) == (("clock", STEPS), {STEPS: 5.0})
    assert (other.gate, other.limits) == (("clock",), {})
    with pytest.raises(SpecError, match="--limit: no metric has the name 'steps'; no check holds a custom metric"):
        resolved_for_some(COMMAND_LINE, CheckSettings(limits={"steps": 5.0}), [[], []])


def test_before_its_test_has_run_a_gate_is_known_without_custom_metrics() -> None:
    assert list(known_words(["auto", "steps", "ttft.p50", "limits"])) == ["auto", "ttft.p50", "limits"]
