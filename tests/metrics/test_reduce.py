"""From timestamps to metrics, against sums done by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.metrics.reduce import DeviceObservation, engine_samples, iteration_metrics
from pytest_vllmperf.metrics.served import ServedMetrics
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.engine import EngineFacts, MemoryFacts, WeightFacts
from pytest_vllmperf.records.run import RequestRecord, RunResult

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def request(index: int = 0, **changed: Any) -> RequestRecord:
    plain = RequestRecord(
        index=index,
        prompt_tokens=100,
        output_tokens=11,
        cached_tokens=0,
        finish_reason="length",
        queued_ts=10.0,
        scheduled_ts=10.5,
        first_token_ts=12.0,
        last_token_ts=17.0,
    )
    return replace(plain, **changed)


def result(*requests: RequestRecord, **changed: Any) -> RunResult:
    plain = RunResult(requests, (500_000_000, 250_000_000), 11, 1, 32, 3.5, 2**30, 7.0)
    return replace(plain, **changed)


FACTS = EngineFacts(
    device="cuda",
    device_name="H200",
    max_model_len=4096,
    vocab_size=100,
    special_token_ids=(),
    prefix_caching=False,
    load_time={"import": 5.0, "total": 20.0, "weights": 8.0, "rest": 12.0},
    kv_cache_tokens=1000,
    kv_cache_bytes=64000,
    expected_kv_bytes_per_token=64,
)


def test_one_request_by_hand() -> None:
    found = iteration_metrics(result(request()))
    expected = {
        "ttft.p50": 2.0,
        "queue.p50": 0.5,
        "prefill.p50": 1.5,
        "decode.p50": 5.0,
        "tpot.p50": 0.5,
        "e2e.p50": 7.0,
        "itl.mean": 0.375,
        "request_throughput": 1 / 7,
        "output_throughput": 11 / 7,
        "total_token_throughput": 111 / 7,
        "prompt_tokens": 100.0,
        "output_tokens": 11.0,
        "engine_steps": 11.0,
        "preemptions": 1.0,
        "prefix_cache_hit_tokens": 32.0,
        "cpu_seconds": 3.5,
        "resident_bytes": float(2**30),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_instructions_are_a_metric_where_they_were_counted() -> None:
    assert iteration_metrics(result(request(), instructions=5e9))["cpu_instructions"] == 5e9
    assert "cpu_instructions" not in iteration_metrics(result(request()))


def test_throughput_is_over_the_span_of_all_requests() -> None:
    early = request(0, queued_ts=8.0, last_token_ts=16.0)
    late = request(1, queued_ts=14.0, last_token_ts=28.0)
    found = iteration_metrics(result(early, late))
    assert found["request_throughput"] == pytest.approx(2 / 20)
    assert found["output_throughput"] == pytest.approx(22 / 20)


def test_a_request_of_one_token_has_no_tpot() -> None:
    single = request(1, output_tokens=1, last_token_ts=12.0)
    assert iteration_metrics(result(request(), single))["tpot.p50"] == pytest.approx(0.5)
    alone = iteration_metrics(result(single, itl_ns=()))
    assert not any(name.startswith(("tpot", "itl")) for name in alone)
    assert alone["ttft.p50"] == pytest.approx(2.0)


def test_a_request_that_did_not_finish_counts_for_nothing() -> None:
    dead = RequestRecord(1, 0, 0, 0, None, 0.0, 0.0, 0.0, 0.0)
    assert iteration_metrics(result(request(), dead)) == iteration_metrics(result(request()))


def test_what_was_not_observed_is_absent() -> None:
    dead = RequestRecord(0, 0, 0, 0, None, 0.0, 0.0, 0.0, 0.0)
    found = iteration_metrics(result(dead, itl_ns=(), cpu_seconds=None, resident_bytes=None))
    assert set(found) == {
        "engine_steps",
        "preemptions",
        "prefix_cache_hit_tokens",
        "prompt_tokens",
        "output_tokens",
    }


def test_no_time_has_no_throughput() -> None:
    instant = request(queued_ts=1.0, scheduled_ts=1.0, first_token_ts=1.0, last_token_ts=1.0)
    found = iteration_metrics(result(instant))
    assert not any("throughput" in name for name in found)


def test_every_metric_is_in_the_table() -> None:
    assert set(iteration_metrics(result(request()))) <= set(METRICS)
    samples = engine_samples(FACTS, [result(request())], [result(request())])
    assert set(samples.samples) | set(samples.once) <= set(METRICS)


times = st.floats(0, 1e6)


@relaxed
@given(st.lists(st.tuples(times, st.floats(0, 10), st.floats(0, 10), st.integers(2, 50)), min_size=1, max_size=20))
def test_distributions_are_numpys_over_requests(rows: list[tuple[float, float, float, int]]) -> None:
    requests = [
        request(
            index,
            queued_ts=queued,
            scheduled_ts=queued,
            first_token_ts=queued + wait,
            last_token_ts=queued + wait + decode,
            output_tokens=tokens,
        )
        for index, (queued, wait, decode, tokens) in enumerate(rows)
    ]
    found = iteration_metrics(result(*requests))
    ttft = [r.first_token_ts - r.queued_ts for r in requests]
    tpot = [(r.last_token_ts - r.first_token_ts) / (r.output_tokens - 1) for r in requests]
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for point, expected in (("mean", np.mean(values)), ("p95", np.percentile(values, 95))):
            # a duration of zero was not observed
            assert found.get(f"{name}.{point}", 0.0) == pytest.approx(expected)
            assert found.get(f"{name}.{point}") != 0
    assert iteration_metrics(result(*requests[::-1])) == pytest.approx(found)


def test_samples_stand_in_the_order_of_the_iterations() -> None:
    runs = [result(request(last_token_ts=17.0 + number)) for number in range(3)]
    found = engine_samples(FACTS, runs[:1], runs[1:])
    assert found.samples["e2e.p50"] == pytest.approx([8.0, 9.0])
    assert found.warmup["e2e.p50"] == pytest.approx([7.0])
    assert set(found.warmup) == set(CLOCK_METRICS)


def test_without_warm_up_there_is_none() -> None:
    assert engine_samples(FACTS, [], [result(request())]).warmup == {}


def test_a_metric_that_one_iteration_lacks_is_left_out() -> None:
    whole, part = result(request()), result(request(), cpu_seconds=None)
    found = engine_samples(FACTS, [], [whole, part]).samples
    assert "cpu_seconds" not in found
    assert {len(values) for values in found.values()} == {2}


def test_what_an_engine_has_once() -> None:
    assert engine_samples(FACTS, [], [result(request())]).once == {
        "load_time": 20.0,
        "load_time.import": 5.0,
        "load_time.weights": 8.0,
        "load_time.rest": 12.0,
        "kv_cache_tokens": 1000.0,
        "kv_cache_bytes": 64000.0,
        "kv_bytes_per_token": 64.0,
    }


def test_an_engine_that_tells_little_has_little() -> None:
    silent = replace(FACTS, load_time={"total": 2.0}, kv_cache_bytes=None)
    assert engine_samples(silent, [], [result(request())]).once == {"load_time": 2.0, "kv_cache_tokens": 1000.0}


def test_ttft_of_each_request_is_the_median_over_iterations() -> None:
    runs = [
        result(request(1, first_token_ts=10.0 + late), request(0, first_token_ts=11.0 + late)) for late in (3, 1, 2)
    ]
    assert engine_samples(FACTS, [], runs).ttft_by_request == pytest.approx([3.0, 2.0])


def test_ttft_by_request_needs_all_of_them() -> None:
    dead = RequestRecord(1, 0, 0, 0, None, 0.0, 0.0, 0.0, 0.0)
    runs = [result(request(0), request(1)), result(request(0), dead)]
    assert engine_samples(FACTS, [], runs).ttft_by_request == []


def test_stored_numbers_can_be_read_by_a_person_and_counters_stay_exact() -> None:
    long = result(request(first_token_ts=10.0 + 1 / 3), resident_bytes=123_456_789_123)
    found = engine_samples(FACTS, [], [long]).samples
    assert found["ttft.p50"] == [0.3333333]
    assert found["resident_bytes"] == [123_456_789_123.0]


def test_what_a_coarse_clock_calls_zero_was_not_observed() -> None:
    at_once = request(queued_ts=1.0, scheduled_ts=1.0, first_token_ts=1.0, last_token_ts=1.0)
    found = iteration_metrics(replace(result(at_once), cpu_seconds=0.0, preemptions=0))
    assert not {"ttft.p50", "cpu_seconds", "output_throughput"} & set(found)
    assert (found["queue.p50"], found["decode.p50"], found["preemptions"]) == (0.0, 0.0, 0.0)


def test_a_cold_start_has_a_load_time_of_its_own() -> None:
    cold, warm = (engine_samples(FACTS, [], [result(request())], cold_start=one) for one in (True, False))
    assert cold.once["load_time.cold"] == cold.once["load_time"] == warm.once["load_time"]
    assert (cold.cold_start, warm.cold_start, "load_time.cold" in warm.once) == (True, False, False)


def test_iterations_are_counted() -> None:
    runs = [result(request())] * 5
    found = engine_samples(FACTS, runs[:2], runs[2:])
    assert (found.discarded, found.iterations) == (2, 3)


USE = GpuUse(130 * 2**30, 606.0, 303.0, 0.97, 1.98e9, 61.0, 0)
WEIGHTS = WeightFacts({}, None, None, False, 16_000_000_000, (), None)


def test_what_was_seen_of_the_devices_belongs_to_its_iteration() -> None:
    runs = [result(request())] * 3
    other = replace(USE, power=250.0, energy=550.0)
    found = engine_samples(FACTS, runs[:1], runs[1:], device=DeviceObservation((USE, other))).samples
    assert found["gpu_power"] == [303.0, 250.0]
    assert found["joules_per_token"] == [pytest.approx(606 / 11, rel=1e-6), 50.0]
    assert found["gpu_memory_peak"] == [130 * 2**30] * 2
    assert "model_bandwidth_utilization" not in found
    assert "gpu_power" not in engine_samples(FACTS, [], runs).samples


def test_what_was_not_seen_in_one_iteration_is_left_out() -> None:
    runs = [result(request())] * 2
    found = engine_samples(FACTS, [], runs, device=DeviceObservation((USE, None))).samples
    assert not any(name.startswith(("gpu_", "joules", "tokens_per")) for name in found)
    part = engine_samples(FACTS, [], runs, device=DeviceObservation((USE, replace(USE, power=None)))).samples
    assert ("gpu_power" in part, "gpu_energy" in part) == (False, True)


def test_there_is_a_look_for_every_counted_iteration() -> None:
    runs = [result(request())] * 2
    with pytest.raises(ValueError, match="shorter"):
        engine_samples(FACTS, runs, runs, device=DeviceObservation((USE,)))


def test_the_bandwidth_that_decoding_used_follows_from_the_engine() -> None:
    known = replace(FACTS, weights=WEIGHTS)
    found = engine_samples(known, [], [result(request())], device=DeviceObservation(bandwidth=1e12))
    moved = 11 * 16e9 + (10 * 100 + 55) * 64  # eleven steps in seven seconds, 64 bytes of KV a token
    assert found.samples["model_bandwidth_utilization"] == pytest.approx([moved / 7e12], rel=1e-6)
    unknown = engine_samples(known, [], [result(request())], device=DeviceObservation())
    assert "model_bandwidth_utilization" not in unknown.samples


def test_what_the_workers_counted_is_kept() -> None:
    found = iteration_metrics(result(request(), kernels_compiled=0, torch_peak_bytes=2**30))
    assert (found["kernels_compiled"], found["torch_peak_bytes"]) == (0.0, 2.0**30)
    assert not {"kernels_compiled", "torch_peak_bytes"} & set(iteration_metrics(result(request())))


def test_an_engines_memory_is_told_by_purpose() -> None:
    memory = MemoryFacts(peak_activation=3 * 2**30, non_torch=None, cuda_graphs=0, torch_reserved=7)
    known = replace(FACTS, weights=WEIGHTS, memory=memory)
    once = engine_samples(known, [], [result(request())], device=DeviceObservation(engine_bytes=125 * 2**30)).once
    plain = engine_samples(FACTS, [], [result(request())]).once
    assert {name: value for name, value in once.items() if name not in plain} == {
        "weight_bytes": 16e9,
        "device_memory_used": 125 * 2**30,
        "memory.peak_activation": 3 * 2**30,
    }  # what takes nothing has no size to compare


def test_every_metric_of_devices_and_memory_is_in_the_table() -> None:
    memory = MemoryFacts(1, 1, 1, 1)
    seen = DeviceObservation((USE,), engine_bytes=1, bandwidth=1e12)
    told = result(request(), kernels_compiled=1, torch_peak_bytes=1, instructions=1)
    found = engine_samples(replace(FACTS, weights=WEIGHTS, memory=memory), [], [told], device=seen)
    assert set(found.samples) | set(found.once) <= set(METRICS)
    served = {name for name, metric in METRICS.items() if vars(ServedMetrics).get(name) is metric}
    of_pass = {name for name, metric in METRICS.items() if metric.of_pass is not None}
    whole = {name for name in METRICS if "." not in name or name.startswith("memory.")} - of_pass
    assert whole - served <= {*found.samples, *found.once}
