"""Goodput of a promise as a metric: of what was measured, of its reference, and as a key that must match."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.lab.promised import promised
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.run import MeasureSettings, RequestRecord, RunResult
from pytest_vllmperf.records.samples import EngineSamples, Environment
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

WORKLOAD = Workload.synthetic(requests=2, input_tokens=4, output_tokens=5)
FAST = RequestRecord(0, 4, 5, 0, "length", 10.0, None, 10.1, 11.0)
SLOW = replace(FAST, index=1, first_token_ts=10.8)
SLO = Slo(ttft=0.5)
ENVIRONMENT = Environment(hard={"model": "m"}, soft={})


def iterations(*requests: RequestRecord) -> tuple[tuple[RunResult, ...], ...]:
    return ((RunResult(requests, (), None, None, None, None, None, 1.0),),)


def measured(*requests: RequestRecord, reference: tuple[RequestRecord, ...] = ()) -> Measurement:
    samples = (EngineSamples(discarded=1, iterations=1, samples={"ttft.p50": [0.1]}),)
    take = Take(Target(EngineSpec.create("m", backend="simulated")), WORKLOAD, MeasureSettings())
    other = Reference("vllm", "", ENVIRONMENT, samples) if reference else None
    return Measurement(
        "m", "cpu, served", "p", {}, ENVIRONMENT, samples, made_with=take, reference=other,
        iterations=iterations(*requests), reference_iterations=iterations(*reference) if reference else (),
    )  # fmt: skip


def test_goodput_is_a_metric_of_the_engines_and_of_those_to_come() -> None:
    found = promised(measured(FAST, SLOW), SLO)
    assert found.goodput == 0.5
    assert found.engines[0].values("ttft.p50") == [0.1]
    assert isinstance(found.made_with, Take)
    assert found.made_with.slo == SLO


def test_the_promise_is_a_key_that_must_match() -> None:
    found, looser = (promised(measured(FAST), slo) for slo in (SLO, Slo(ttft=5.0)))
    assert found.environment.hard == {"model": "m", "promise": "ttft=0.5s"}
    assert looser.environment.hard != found.environment.hard


def test_a_reference_keeps_the_same_promise() -> None:
    found = promised(measured(FAST, reference=(FAST, SLOW)), SLO)
    assert found.reference is not None
    assert found.reference.engines[0].values("goodput") == [0.5]
    assert found.reference.environment.hard == found.environment.hard


def test_without_a_promise_or_requests_it_stays_as_it_is() -> None:
    run = measured(FAST)
    assert promised(run, None) is run
    bare = replace(run, iterations=())
    assert promised(bare, SLO) is bare
