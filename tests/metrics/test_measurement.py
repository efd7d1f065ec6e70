"""Reading a measurement: missing is never zero."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples, Environment
from tests.profiling import FLASH, NORM, profiled, slower, table, unprofiled

ENVIRONMENT = Environment(hard={"gpu": "H200"}, soft={})
LATER = Environment(hard={"gpu": "H200"}, soft={"driver": "2"})
LEDGER = VramLedger(1, 2, 3, 4, 5, 6, 7, 8.0)
POINTS = (".mean", ".p50", ".p90", ".p95", ".p99")
TRACE = GpuTrace("GPU-1", ())


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


def test_why_the_machine_does_not_let_a_metric_be_measured_is_told() -> None:
    run = replace(measurement(), unmeasured={"cpu_instructions": "this machine has no hardware counters"})
    words = r"^CPU instructions was not measured on llama .*: this machine has no hardware counters$"
    with pytest.raises(NotMeasuredError, match=words):
        _ = run.cpu_instructions
    with pytest.raises(NotMeasuredError, match=r"awq$"):
        _ = run.preemptions


def test_an_empty_list_of_samples_is_not_measured() -> None:
    with pytest.raises(NotMeasuredError):
        measurement(EngineSamples(discarded=0, iterations=1, samples={"preemptions": []})).value("preemptions")


def test_a_name_that_is_no_metric_is_told() -> None:
    run = measurement(ONE)
    with pytest.raises(NotMeasuredError, match="no metric has the name 'speed'"):
        run.value("speed")
    with pytest.raises(AttributeError, match="a measurement has no metric 'speed'"):
        _ = run.speed
    with pytest.raises(AttributeError, match="ttft has mean, p50, p90, p95, p99, not p42"):
        _ = run.ttft.p42
    assert not hasattr(run, "speed")


def test_a_wrong_name_says_the_nearest_right_one() -> None:
    run = measurement(ONE)
    for read in (run.value, run.samples):
        with pytest.raises(NotMeasuredError, match=r"no metric has the name 'ttft.p5O'; did you mean 'ttft.p50'\?$"):
            read("ttft.p5O")
    with pytest.raises(AttributeError, match=r"no metric 'throughput'; did you mean 'output_throughput'\?$"):
        _ = run.throughput
    with pytest.raises(AttributeError, match=r"not p5; did you mean 'ttft.p50'\?$"):
        _ = run.ttft.p5
    with pytest.raises(AttributeError, match=r"no metric 'TTFT'; did you mean 'ttft'\?$"):
        _ = run.TTFT
    with pytest.raises(AttributeError, match=r"no metric 'xyz'; dir\(run\) lists its metrics$"):
        _ = run.xyz


def test_an_editor_finds_every_metric() -> None:
    found = dir(measurement(ONE))
    whole = {name.replace(".", "_") for name in METRICS if not name.endswith(POINTS)}
    assert {*whole, "ttft", "itl", "decode"} <= set(found)
    assert {"mean", "p50", "p90", "p95", "p99"} <= set(dir(measurement(ONE).ttft))


def test_a_metric_with_a_dot_has_an_attribute_with_an_underscore() -> None:
    once = {"load_time.cold": 9.0, "memory.non_torch": 7.0}
    run = measurement(EngineSamples(discarded=0, iterations=1, samples={}, once=once))
    assert (run.load_time_cold, run.memory_non_torch) == (9.0, 7.0)


def test_what_a_failed_assertion_shows_is_short() -> None:
    run = measurement(ONE, TWO)
    assert repr(run) == "<Measurement llama quantization=awq on h200, 2 engines: output throughput 30 tok/s>"
    assert repr(run.ttft) == "<ttft: not measured>"
    both = ONE.model_copy(update={"samples": {"ttft.p50": [0.0232], "ttft.p99": [0.051]}})
    assert repr(measurement(both).ttft) == "<ttft p50=23.2 ms p99=51 ms>"
    assert repr(measurement(both)) == "<Measurement llama quantization=awq on h200, 1 engine: TTFT p50 23.2 ms>"
    assert repr(replace(run, problems=("it ran hot",))).endswith(" 2 engines: void>")
    assert repr(measurement(EngineSamples(discarded=0, iterations=1, samples={}))).endswith(" 1 engine: no clock>")
    assert len(repr(replace(run, spec_label="m" * 1000))) < 120


def test_who_prints_a_measurement_has_not_looked_at_it() -> None:
    run = measurement(ONE)
    assert "tok/s" in f"{run} {run!r}"
    assert not run.looked_at
    assert run.output_throughput > 0
    assert run.looked_at


def test_metrics_are_no_fields() -> None:
    assert [field.name for field in fields(Measurement)][:3] == ["spec_label", "device", "profile"]
    assert not {field.name for field in fields(Measurement)} & {name.replace(".", "_") for name in METRICS}
    run = measurement(ONE)
    assert replace(run, gpus=2) != run == replace(run)
    with pytest.raises(FrozenInstanceError):
        run.output_throughput = 3.0


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_measurements_and_distributions_can_be_copied(duplicate: object) -> None:
    assert callable(duplicate)
    assert duplicate(measurement(ONE)).output_throughput == 20.0
    assert duplicate(measurement(ONE).ttft).p50 == 0.5


FAST = EngineSamples(
    discarded=0,
    iterations=1,
    samples={"output_throughput": [1000.0, 1000.0], "total_token_throughput": [4000.0]},
)


@pytest.mark.parametrize(
    ("gpus", "metric", "cost"),
    [
        (1, {}, 1.0),  # 3.6 million tokens an hour
        (4, {}, 4.0),
        (1, {"metric": "total_token_throughput"}, 0.25),
    ],
)
def test_what_a_million_tokens_cost(gpus: int, metric: dict[str, str], cost: float) -> None:
    run = replace(measurement(FAST), gpus=gpus)
    assert run.cost_per_million_tokens(3.6, **metric) == pytest.approx(cost)


def test_several_engines_cost_what_their_median_does() -> None:
    run = replace(measurement(FAST, FAST.model_copy(update={"samples": {"output_throughput": [3000.0]}})), gpus=1)
    assert run.cost_per_million_tokens(3.6) == pytest.approx(0.5)


def test_there_is_no_cost_without_a_gpu_or_without_a_throughput() -> None:
    with pytest.raises(NotMeasuredError, match="llama quantization=awq did not run on a GPU"):
        measurement(FAST).cost_per_million_tokens(3.6)
    with pytest.raises(NotMeasuredError, match="output throughput was not measured"):
        replace(measurement(EngineSamples(discarded=0, iterations=1, samples={})), gpus=1).cost_per_million_tokens(1.0)


HOT = replace(
    measurement(TWO), problems=(Problem("throttling", "it ran hot"), Problem("clocks", "and its clock changed"))
)
SHORT, LOST = Problem("length", "cut short"), Problem("lost", "the GPU is gone")
BUSY = Problem("processes", "a busy neighbour")


@pytest.mark.parametrize(
    ("problems", "transient"),
    [((), False), (HOT.problems, True), ((*HOT.problems, SHORT), False), ((SHORT,), False), ((BUSY,), True)],
)
def test_a_void_measurement_is_transient_where_all_of_its_problems_are(
    problems: tuple[Problem, ...], transient: bool
) -> None:
    assert replace(measurement(ONE), problems=problems).transient is transient


def test_an_engine_that_is_left_out_leaves_its_reasons() -> None:
    run = replace(measurement(ONE), gpus=1, vram=LEDGER, traces=(TRACE,))
    assert run.without(HOT) == replace(run, excluded=HOT.problems)
    assert run.without(HOT).output_throughput == 20.0
    twice = run.without(HOT).without(replace(HOT, problems=(BUSY,)))
    assert twice.excluded == (*HOT.problems, BUSY)


def test_two_measurements_become_one() -> None:
    first = replace(measurement(ONE), problems=(SHORT,), excluded=HOT.problems[:1], vram=None)
    second = replace(
        measurement(TWO),
        environment=LATER,
        problems=(SHORT, LOST),
        excluded=(BUSY,),
        gpus=2,
        vram=LEDGER,
        traces=(TRACE,),
    )
    both = first.with_engines_of(second)
    assert both.engines == (ONE, TWO)
    assert both.problems == (SHORT, LOST)
    assert both.excluded == (HOT.problems[0], BUSY)
    assert both.environment == ENVIRONMENT  # what the first was recorded in
    assert (both.gpus, both.vram, both.traces) == (2, LEDGER, (TRACE,))  # of the engine that ran last


def test_what_has_taken_in_a_void_engine_is_void_for_good() -> None:
    sound, void = measurement(ONE), replace(HOT, problems=(SHORT,))
    assert void.with_engines_of(sound).problems == sound.with_engines_of(void).problems == (SHORT,)


def test_kernels_are_the_largest_first_and_all_others_last() -> None:
    run = measurement(profiled(table(NORM, FLASH, rest=0.5)), profiled(table(NORM, slower(FLASH, 0.002), rest=0.5)))
    assert not run.looked_at
    assert [(one.name, one.times) for one in run.kernels] == [("flash_fwd", 1792), ("rms_norm", 34228), ("others", 10)]
    assert run.kernels[0].seconds == pytest.approx(0.1274)
    assert run.looked_at
    assert [one.name for one in measurement(profiled(table(NORM))).kernels] == ["rms_norm"]


@pytest.mark.parametrize(("reason", "told"), [("MIG", ": MIG$"), ("", "quantization=awq$")])
def test_what_needs_a_device_pass_says_why_there_was_none(reason: str, told: str) -> None:
    run = measurement(unprofiled("an older reason"), unprofiled(reason)) if reason else measurement(unprofiled(""))
    with pytest.raises(NotMeasuredError, match=f"^GPU time was not measured on llama .*{told}"):
        _ = run.gpu_time
    with pytest.raises(NotMeasuredError, match=f"^kernels were not measured on llama .*{told}"):
        _ = run.kernels
    with pytest.raises(NotMeasuredError, match=r"^TTFT p50 was not measured on llama quantization=awq$"):
        _ = run.ttft.p50
