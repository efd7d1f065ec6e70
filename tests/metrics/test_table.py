"""The one table of metrics, and the words of a gate."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.table import (
    CLOCK_METRICS,
    DISTRIBUTIONS,
    EXACT_METRICS,
    GATES,
    METRICS,
    Direction,
    MetricClass,
    resolve_gate,
)

relaxed = settings(deadline=None, max_examples=60)

UNITS = {"s", "B", "tok/s", "req/s", "tokens", "share", "W", "J", "J/tok", "tok/J", "Hz", "°C", ""}


def test_every_row_is_filled_and_found_by_its_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert metric.formula
        assert metric.unit in UNITS
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


def test_every_distribution_has_its_points() -> None:
    for name in DISTRIBUTIONS:
        for point in ("mean", "p50", "p90", "p95", "p99"):
            metric = METRICS[f"{name}.{point}"]
            assert (metric.unit, metric.better) == ("s", Direction.LOWER)
            assert (metric.kind is MetricClass.TAIL) == (point in ("p90", "p95", "p99"))


@pytest.mark.parametrize(
    "name",
    ["output_throughput", "request_throughput", "kv_cache_tokens", "tokens_per_joule", "model_bandwidth_utilization"],
)
def test_more_is_better(name: str) -> None:
    assert METRICS[name].better is Direction.HIGHER


@pytest.mark.parametrize(
    "name",
    ["preemptions", "load_time", "cpu_seconds", "resident_bytes", "kv_bytes_per_token", "joules_per_token",
     "gpu_memory_peak", "torch_peak_bytes", "memory.cuda_graphs", "kernels_compiled"],
)  # fmt: skip
def test_less_is_better(name: str) -> None:
    assert METRICS[name].better is Direction.LOWER


def test_auto_is_what_the_device_can_be_judged_by() -> None:
    assert resolve_gate(("auto",), "cuda") == CLOCK_METRICS
    assert resolve_gate(("auto",), "simulated") == CLOCK_METRICS
    assert resolve_gate(("auto",), "cpu") == EXACT_METRICS


def test_sets_are_what_they_say() -> None:
    assert resolve_gate(("cpu",), "cuda") == ("cpu_seconds",)
    assert resolve_gate(("energy",), "cuda") == ("joules_per_token",)
    vram = ("weight_bytes", "kv_bytes_per_token", "kv_cache_tokens", "torch_peak_bytes")
    assert resolve_gate(("vram",), "cuda") == vram
    assert {METRICS[name].kind for name in resolve_gate(("exact",), "cuda")} == {MetricClass.EXACT}
    counters = {"engine_steps", "preemptions", "prefix_cache_hit_tokens"}
    assert set(EXACT_METRICS) == {*counters, "weight_bytes", "kv_bytes_per_token"}


@relaxed
@given(st.lists(st.sampled_from([*METRICS, *GATES]), max_size=8))
def test_a_gate_is_each_metric_once_in_the_order_of_the_table(words: list[str]) -> None:
    found = resolve_gate(tuple(words), "cuda")
    assert list(found) == [name for name in METRICS if name in found]
    assert set(found) == {name for word in words for name in GATES.get(word, (word,))}
    assert resolve_gate(tuple(reversed(words)) * 2, "cuda") == found


@pytest.mark.parametrize("word", ["ttft", "speed", "", "TTFT.p50", "all"])
def test_an_unknown_word_is_refused_with_what_there_is(word: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve_gate(("clock", word), "cuda")
    assert repr(word) in str(caught.value)
    assert "sets: auto, exact, clock, cpu" in str(caught.value)
    assert "ttft.p50" in str(caught.value)
    assert "\n" not in str(caught.value)
