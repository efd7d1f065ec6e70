"""GPU time that a gate stands for and that is not judged: what is told, what fails, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.checking import policy
from pytest_vllmperf.checking.device_pass import NOT_MADE, OFF, Unjudged, engines_without, unjudged, why_none
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import CLOCK_METRICS
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session

AUTO = ("auto",)
ENVIRONMENT = Environment(hard={}, soft={})
CLOCK = {name: [1.0] for name in CLOCK_METRICS}
WITH = EngineSamples(discarded=0, iterations=1, samples=CLOCK, passes={"gpu_time": [0.3, 0.3, 0.3]})
WITHOUT = EngineSamples(discarded=0, iterations=1, samples=CLOCK, no_device_pass="CUPTI is lost")
TURNED_OFF = EngineSamples(discarded=0, iterations=1, samples=CLOCK, no_device_pass=OFF)
NOBODY = EngineSamples(discarded=0, iterations=1, samples=CLOCK)


def run(*engines: EngineSamples, reference: EngineSamples | None = None) -> Measurement:
    found = Measurement("m", "cuda", "h200", {}, ENVIRONMENT, engines)
    if reference is None:
        return found
    return replace(found, reference=Reference("vLLM 1", "both at once", ENVIRONMENT, (reference,)))


def entry(*engines: EngineSamples, gate: tuple[str, ...] = (*CLOCK_METRICS, "gpu_time")) -> Entry:
    session = Session(recorded="", environment=ENVIRONMENT, engines=list(engines))
    return Entry(engine="e", workload={}, judging=Judging(gate=list(gate), margin=0.05), sessions=[session])


def judged(made: Measurement, stored: Entry | None, words: tuple[str, ...] = AUTO) -> Unjudged:
    return unjudged(words, made, stored, records=False)


def test_why_there_was_no_pass() -> None:
    assert why_none(run(WITH)) == why_none(run(WITHOUT, WITH)) == ""
    assert why_none(run(WITHOUT)) == "CUPTI is lost"
    assert why_none(run(TURNED_OFF)) == OFF
    assert why_none(run(NOBODY)) == NOT_MADE


def test_what_both_sides_measured_is_judged() -> None:
    assert judged(run(WITH), entry(WITH)) == Unjudged()
    assert judged(run(WITH, reference=WITH), None) == Unjudged()


def test_a_recording_without_it_is_told() -> None:
    assert unjudged(AUTO, run(WITH), None, records=True) == Unjudged()
    for made, why in ((run(WITHOUT), "CUPTI is lost"), (run(TURNED_OFF), OFF)):
        assert unjudged(AUTO, made, None, records=True) == Unjudged(
            notes=(f"GPU time not measured: {why}",), noted=("gpu_time",)
        )


@pytest.mark.parametrize("gate", [(*CLOCK_METRICS, "gpu_time"), CLOCK_METRICS])
def test_what_the_baseline_holds_must_not_be_lost(gate: tuple[str, ...]) -> None:
    """Also where its newest session was added without a pass, so that its gate does not name it."""
    (lost,) = judged(run(WITHOUT), entry(WITH, NOBODY, gate=gate)).lost
    assert lost.startswith("the baseline holds GPU time, which this run did not measure: CUPTI is lost. ")
    assert "--vllmperf-device-pass=off" in lost


def test_a_pass_that_is_off_is_told_and_no_failure() -> None:
    assert judged(run(TURNED_OFF), entry(WITH)) == Unjudged(
        notes=(f"GPU time is not judged: {OFF}",), noted=("gpu_time",)
    )
    assert judged(run(TURNED_OFF), entry(WITHOUT, gate=CLOCK_METRICS)) == Unjudged()


def test_what_the_baseline_holds_and_did_not_gate_is_judged() -> None:
    assert judged(run(WITH), entry(WITH, gate=CLOCK_METRICS)) == Unjudged()


def test_a_baseline_that_gates_it_and_holds_none_is_not_let_off() -> None:
    assert judged(run(WITH), entry(NOBODY)) == Unjudged(), "it stays in the gate, so that the check is INVALID"


def test_a_baseline_without_it_is_told_and_judges_the_others() -> None:
    found = judged(run(WITH), entry(NOBODY, gate=CLOCK_METRICS))
    assert (found.dropped, found.lost) == (("gpu_time",), ())
    assert found.notes[0].startswith("GPU time is not judged: its baseline has no value for it")
    assert judged(run(WITHOUT), entry(WITHOUT, gate=CLOCK_METRICS)) == Unjudged(), "told when it was recorded"


@pytest.mark.parametrize("words", [("device",), ("gpu_time",), ("auto", "gpu_time"), ("clock",), ("exact",)])
def test_what_a_gate_names_itself_is_never_left_out(words: tuple[str, ...]) -> None:
    for made, stored in ((run(WITH), entry(NOBODY)), (run(WITHOUT), entry(WITH)), (run(TURNED_OFF), entry(WITH))):
        assert judged(made, stored, words) == Unjudged()
        assert unjudged(words, made, None, records=True) == Unjudged()


def test_on_a_cpu_auto_does_not_stand_for_it() -> None:
    assert judged(replace(run(WITHOUT), device="cpu"), entry(WITH)) == Unjudged()


def test_a_reference_without_it_is_told() -> None:
    found = judged(run(WITH, reference=WITHOUT), None)
    assert found.dropped == ("gpu_time",)
    assert found.notes == ("GPU time is not judged: it was not measured on the reference: CUPTI is lost",)
    assert judged(run(WITHOUT, reference=WITHOUT), None).notes == ("GPU time is not judged: CUPTI is lost",)
    off = judged(run(TURNED_OFF, reference=TURNED_OFF), None)
    assert off == Unjudged(notes=(f"GPU time is not judged: {OFF}",), noted=("gpu_time",))


def test_a_new_engine_that_lost_what_its_reference_has_fails() -> None:
    assert judged(run(WITHOUT, reference=WITH), None).lost == (
        "GPU time was measured on the reference only: CUPTI is lost",
    )


def test_engines_that_lack_a_gated_metric_are_told() -> None:
    told = ("GPU time was not measured on 1 of 3 engine starts: CUPTI is lost",)
    assert engines_without(("output_throughput", "gpu_time"), (WITH, WITHOUT, WITH)) == told
    assert engines_without(("gpu_time",), (WITH, WITH)) == engines_without(("ttft.p50",), (WITH, WITHOUT)) == ()


@pytest.mark.parametrize(("word", "sets"), [("device", "; measured sets: clock"), ("gpu_time", "")])
def test_a_gate_on_it_is_refused_with_the_reason_and_what_there_is(word: str, sets: str) -> None:
    reasons = policy.unjudgeable((word,), (WITHOUT,), "cpu", "the engine runs on a CPU")
    refused = f"GPU time was not measured on cpu: the engine runs on a CPU. Leave {word} out of the gate{sets}"
    assert reasons == [refused]
    assert policy.unjudgeable((word,), (WITH,), "cuda") == []
    assert policy.unjudgeable(("clock", "auto"), (WITHOUT,), "cuda", "CUPTI is lost") == []


def test_a_set_without_metrics_that_are_always_measured_names_those_it_has() -> None:
    (reason,) = policy.unjudgeable(("energy",), (WITH,), "cuda", "no pass")
    wanted = "energy per output token was not measured on cuda. Leave energy out of the gate; measured sets: "
    assert reason == f"{wanted}clock, device"
