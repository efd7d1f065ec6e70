"""Reading a measurement: missing is never zero."""

import copy
import pickle

import pytest
from pydantic import ValidationError

from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.metrics.records import EngineSamples, Environment, Measurement, Session

ENVIRONMENT = Environment(hard={"gpu": "H200"}, soft={})


def measurement(*engines: EngineSamples) -> Measurement:
    return Measurement("llama quantization=awq", "cuda", "h200", {}, ENVIRONMENT, engines)


ONE = EngineSamples(
    discarded=0,
    iterations=2,
    samples={"output_throughput": [10.0, 30.0, 20.0], "ttft.p50": [0.5]},
    once={"load_time": 4.0, "kv_cache_bytes": 8.0},
)
TWO = EngineSamples(discarded=0, iterations=1, samples={"output_throughput": [40.0]}, once={"load_time": 8.0})


def test_a_metric_is_read_by_name_attribute_and_distribution() -> None:
    run = measurement(ONE)
    assert run.value("output_throughput") == run.output_throughput == 20.0
    assert run.value("ttft.p50") == run.ttft.p50 == 0.5
    assert run.load_time == 4.0


def test_several_engines_are_the_median_of_their_medians() -> None:
    run = measurement(ONE, TWO)
    assert run.output_throughput == 30.0
    assert run.load_time == 6.0
    assert run.samples("output_throughput") == [[10.0, 30.0, 20.0], [40.0]]


def test_an_engine_that_did_not_observe_a_metric_does_not_count() -> None:
    run = measurement(ONE, TWO)
    assert run.samples("ttft.p50") == [[0.5]]
    assert run.ttft.p50 == 0.5
    assert run.kv_cache_bytes == 8.0


def test_what_was_not_measured_raises_and_says_so() -> None:
    run = measurement(ONE)
    for read in (lambda: run.ttft.p99, lambda: run.value("ttft.p99")):
        with pytest.raises(NotMeasuredError, match=r"TTFT p99 was not measured on llama quantization=awq"):
            read()
    with pytest.raises(NotMeasuredError, match="preemptions was not measured"):
        _ = run.preemptions
    assert run.samples("preemptions") == []


def test_an_empty_list_of_samples_is_not_measured() -> None:
    with pytest.raises(NotMeasuredError):
        measurement(EngineSamples(discarded=0, iterations=1, samples={"preemptions": []})).value("preemptions")


def test_a_name_that_is_no_metric_is_told() -> None:
    run = measurement(ONE)
    with pytest.raises(NotMeasuredError, match="no metric is called 'speed'"):
        run.value("speed")
    with pytest.raises(AttributeError, match="a measurement has no 'speed'"):
        _ = run.speed
    with pytest.raises(AttributeError, match="ttft has mean, p50, p90, p95 and p99, not p42"):
        _ = run.ttft.p42
    assert not hasattr(run, "speed")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_measurements_and_distributions_can_be_copied(duplicate: object) -> None:
    assert callable(duplicate)
    assert duplicate(measurement(ONE)).output_throughput == 20.0
    assert duplicate(measurement(ONE).ttft).p50 == 0.5


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


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        EngineSamples.model_validate({"samples": {}, "average": 1.0})
