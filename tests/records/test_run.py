"""The records: what is stored, what was told, and what follows from it."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from pytest_vllmperf.records.engine import EngineFacts, WeightFacts
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session

ENVIRONMENT = Environment(hard={"gpu": "H200"}, soft={})
ONE = EngineSamples(discarded=0, iterations=1, samples={"ttft.p50": [0.5]}, once={"load_time": 4.0})
REQUEST = RequestRecord(0, 10, 5, 0, "length", 2.0, 2.5, 3.0, 9.0)
FACTS = EngineFacts("cpu", None, 64, 100, (), False, {}, kv_cache_tokens=1000, kv_cache_bytes=64_000)
WEIGHTS = WeightFacts({}, None, None, False, None, (), 70)


def result(*requests: RequestRecord) -> RunResult:
    return RunResult(requests, (), 1, 0, 0, None, None, 1.0)


def test_values_of_an_engine() -> None:
    assert ONE.values("load_time") == [4.0]
    assert ONE.values("ttft.p50") == [0.5]
    assert ONE.values("preemptions") == []
    ONE.values("ttft.p50").append(1.0)
    assert ONE.values("ttft.p50") == [0.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "fast", None])
def test_samples_are_finite_numbers(value: object) -> None:
    with pytest.raises(ValidationError):
        EngineSamples.model_validate({"samples": {"ttft.p50": [value]}})


def test_a_session_has_an_engine() -> None:
    with pytest.raises(ValidationError):
        Session(recorded="now", environment=ENVIRONMENT, engines=[])


def test_a_session_keeps_why_an_engine_was_left_out() -> None:
    hot = Problem("throttling", "it ran hot")
    session = Session(recorded="now", environment=ENVIRONMENT, engines=[ONE], excluded=[hot])
    assert Session.model_validate_json(session.model_dump_json()) == session
    older = session.model_dump(exclude={"excluded"})
    assert Session.model_validate(older).excluded == []


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        EngineSamples.model_validate({"samples": {}, "average": 1.0})


def test_an_iteration_spans_its_finished_requests() -> None:
    early, late = replace(REQUEST, queued_ts=1.0, last_token_ts=4.0), replace(REQUEST, queued_ts=3.0)
    unfinished = replace(REQUEST, finish_reason=None, queued_ts=0.0, last_token_ts=99.0)
    assert result(late, early, unfinished).span == (1.0, 9.0)
    assert result(unfinished).span == result().span == (0.0, 0.0)


def test_kv_bytes_of_a_token() -> None:
    assert FACTS.kv_bytes_per_token == 64.0
    for changed in ({"kv_cache_bytes": None}, {"kv_cache_tokens": None}, {"kv_cache_tokens": 0}):
        assert replace(FACTS, **changed).kv_bytes_per_token is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("groups", "size"), [(None, 64.0), (1, 64.0), (2, None), (7, None)])
def test_a_token_takes_no_fixed_size_in_several_groups_of_layers(groups: int | None, size: float | None) -> None:
    assert replace(FACTS, kv_cache_groups=groups).kv_bytes_per_token == size


@pytest.mark.parametrize(
    ("weights", "size"),
    [
        (WEIGHTS, 70),
        (replace(WEIGHTS, loaded_bytes=50), 50),
        (replace(WEIGHTS, loaded_bytes=50, dummy=True), 50),
        (replace(WEIGHTS, dummy=True), None),  # what is stored was not what was loaded
        (replace(WEIGHTS, asked="fp8"), None),
        (replace(WEIGHTS, asked="fp8", declared={"quant_method": "fp8"}), 70),
        (replace(WEIGHTS, stored_bytes=None), None),
    ],
)
def test_what_the_weights_take(weights: WeightFacts, size: int | None) -> None:
    assert weights.weight_bytes == size
