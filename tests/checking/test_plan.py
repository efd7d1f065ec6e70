"""What is decided about a check when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.plan import InRun, plan
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.samples import Entry, Environment, Judging
from pytest_vllmperf.records.settings import CheckSettings, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats.prior import Prior
from pytest_vllmperf.verdict.priors import Priors
from tests.checking.test_settling import BASELINE, METRIC, SHORT, SITE, WORK, measurement

H200 = Environment(hard={"gpu": "H200"}, soft={})
H100 = Environment(hard={"gpu": "H100"}, soft={})
OWN = CheckSettings(gate=(METRIC,), margin=0.05, margins={})
SETTINGS = Settings(Update.NONE, Path("baselines"), OWN)
QUIET: Priors = {MetricClass.THROUGHPUT: Prior(0.002, 0.3, 0.001, 0.3, 0.0005, 8, 5)}


def entry(*environments: Environment) -> Entry:
    sessions = [
        one.model_copy(update={"environment": where}) for one, where in zip(BASELINE, environments, strict=False)
    ]
    return Entry(engine="e", workload={}, judging=Judging(gate=[METRIC], margin=0.05), sessions=sessions)


def test_a_check_is_judged_with_the_hyperparameters_of_its_profile() -> None:
    asked: list[tuple[str, Mapping[str, str]]] = []

    def priors(profile: str, hard: Mapping[str, str]) -> Priors:
        asked.append((profile, hard))
        return QUIET

    run = replace(measurement(100.0), environment=H200)
    made = plan(SITE, run, entry(H200), OWN, SETTINGS, InRun(lambda *_: 1, priors, lambda _: []))
    assert made.settings.priors == QUIET
    assert asked == [("h200", {"gpu": "H200"})]


def test_sessions_of_several_machines_are_compared_with_nothing() -> None:
    run = replace(measurement(100.0), environment=H200)
    for stored, told in (
        (entry(H200, H200), ()),
        (entry(H100, H200), ("its stored sessions differ in gpu (H100 / H200)",)),
        (entry(H100, H100), ("gpu: H100 -> H200",)),
    ):
        assert (
            plan(SITE, run, stored, OWN, SETTINGS, InRun(lambda *_: 1, lambda *_: {}, lambda _: [])).differences == told
        )


def test_a_missing_baseline_names_the_profiles_that_have_one() -> None:
    asked = InRun(lambda *_: 1, lambda *_: {}, lambda _: ["h100", "a100"])
    run = replace(measurement(100.0), environment=H200)
    missing = plan(SITE, run, None, OWN, SETTINGS, asked)
    assert missing.missing == "nothing is recorded for h200, only for h100, a100"
    verdict = Check(missing, run).verdict
    assert (verdict.status, verdict.reasons) == (Status.NO_BASELINE, (missing.missing,))
    assert plan(SITE, run, entry(H200), OWN, SETTINGS, asked).missing == ""
    assert plan(SITE, run, None, OWN, replace(SETTINGS, update=Update.NEW), asked).missing == ""
    nowhere = plan(SITE, run, None, OWN, SETTINGS, InRun(lambda *_: 1, lambda *_: {}, lambda _: []))
    assert Check(nowhere, run).verdict.reasons == ()


def test_a_missing_baseline_tells_over_how_many_gpus_the_engine_is_spread() -> None:
    gpu = GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1")
    take = Take(Target(EngineSpec.create("m", tensor_parallel_size=1), (gpu,)), WORK, MeasureSettings())
    run = replace(measurement(100.0), environment=H200, made_with=take)
    told = plan(SITE, run, None, OWN, SETTINGS, InRun(lambda *_: 1, lambda *_: {}, lambda _: ["2-x-h200"])).missing
    assert told == "nothing is recorded for h200, only for 2-x-h200; this engine uses 1 GPU (tensor_parallel_size=1)"


def test_what_no_baseline_judges_misses_none() -> None:
    """A file of other hardware that cannot be read, say, must not fail such a check."""

    def profiles(_: CheckId) -> list[str]:
        raise AssertionError

    asked = InRun(lambda *_: 1, lambda *_: {}, profiles)
    run = replace(measurement(100.0), environment=H200)
    in_turns = replace(run, reference=Reference("vLLM 1", "both at once", H200, run.engines))
    limits = replace(OWN, gate=("limits",), limits={METRIC: 50.0})
    assert plan(SITE, in_turns, None, OWN, SETTINGS, asked).missing == ""
    assert plan(SITE, run, None, limits, SETTINGS, asked).missing == ""
    with pytest.raises(AssertionError):
        plan(SITE, run, None, OWN, SETTINGS, asked)


def test_a_gate_that_holds_less_than_its_baseline_is_told() -> None:
    stored = entry(H200)
    wider = stored.model_copy(
        update={"judging": stored.judging.model_copy(update={"gate": [METRIC, "ttft.p50", "gpu_time"]})}
    )
    run = replace(measurement(100.0), environment=H200)
    asked = InRun(lambda *_: 1, lambda *_: {}, lambda _: [])
    told = ("no longer gated by the test, but gated by its baseline: TTFT p50, GPU time",)
    assert plan(SITE, run, wider, OWN, SETTINGS, asked).notes == told
    assert plan(SITE, run, stored, OWN, SETTINGS, asked).notes == ()


def test_a_void_measurement_is_not_refused_for_its_gate() -> None:
    """What voids it says more than what it cannot be judged by."""
    key = "accuracy [higher, once]"
    [engine] = measurement(100.0).engines
    made = replace(
        measurement(100.0, problems=(SHORT,)),
        environment=H200,
        engines=(engine.model_copy(update={"recorded": {key: [0.8]}}),),
    )
    own, appending = replace(OWN, gate=("accuracy",)), replace(SETTINGS, append=True)
    asked = InRun(lambda *_: 1, lambda *_: {}, lambda _: [])
    planned = plan(SITE, made, entry(H200), own, appending, asked)
    assert planned.settings.gate == (key,)
    assert Check(planned, made).verdict.reasons == (str(SHORT),)
    with pytest.raises(SpecError, match="nothing of its gate can be judged"):
        plan(SITE, replace(made, problems=()), entry(H200), own, appending, asked)
