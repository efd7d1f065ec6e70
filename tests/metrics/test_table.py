"""The one table of metrics, and the words of a gate."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.gates import Gate, gate_help
from pytest_vllmperf.metrics.table import (
    CLOCK_METRICS,
    DECLARATIONS,
    GATES,
    IF_MEASURED,
    METRICS,
    AllMetrics,
    name_taken,
    resolve_gate,
)
from pytest_vllmperf.stats import Direction

relaxed = settings(max_examples=60)
EXACT_METRICS = GATES["exact"]


def test_every_row_is_filled_and_found_by_its_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert metric.formula
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize("declared", DECLARATIONS, ids=lambda declared: declared.name)
def test_every_metric_has_one_function_that_computes_it(declared: object) -> None:
    functions = ("of", "of_start", "of_pass", "of_request")
    assert sum(getattr(declared, name, None) is not None for name in functions) == 1


def test_the_table_is_in_the_order_of_the_declarations() -> None:
    names = list(METRICS)
    assert names[:4] == ["output_throughput", "request_throughput", "total_token_throughput", "ttft.mean"]
    assert names.index("decode.p99") + 1 == names.index("gpu_time")
    assert names.index("device_pass.power_capped") + 1 == names.index("goodput")
    assert names.index("kv_usage_max") + 1 == names.index("spec.acceptance")
    assert names[-1] == "load_time.rest"


def test_a_metric_is_an_attribute_of_its_class() -> None:
    assert AllMetrics.output_throughput is METRICS["output_throughput"]
    assert AllMetrics.memory_non_torch is METRICS["memory.non_torch"]
    assert AllMetrics.ttft.metrics[1] is METRICS["ttft.p50"]


def test_every_distribution_has_its_points() -> None:
    for declared in DECLARATIONS:
        for metric in declared.metrics if len(declared.metrics) > 1 else ():
            point = metric.name.rpartition(".")[2]
            assert (metric.unit.symbol, metric.better) == ("s", Direction.LOWER)
            assert (metric.kind is MetricClass.TAIL) == (point in ("p90", "p95", "p99"))
            assert metric.decides_from == {"p90": 250, "p95": 500, "p99": 2000}.get(point, 0)


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


@pytest.mark.parametrize("device", ["cuda", "cuda, served", "simulated"])
def test_auto_is_the_clock_and_the_gpus_own_time_where_it_was_measured(device: str) -> None:
    assert resolve_gate(("auto",), device, ("gpu_time", "gpu_busy")) == (*CLOCK_METRICS, "gpu_time")
    assert resolve_gate(("auto",), "cpu", ("gpu_time",)) == EXACT_METRICS
    assert resolve_gate(("clock",), device, ("gpu_time",)) == CLOCK_METRICS
    assert resolve_gate(("device",), device, ("gpu_time",)) == ("gpu_time",)


def test_sets_are_what_they_say() -> None:
    assert resolve_gate(("cpu",), "cuda") == ("cpu_seconds",)
    assert resolve_gate(("energy",), "cuda") == ("joules_per_token",)
    vram = ("weight_bytes", "kv_bytes_per_token", "kv_cache_tokens", "torch_peak_bytes")
    assert resolve_gate(("vram",), "cuda") == vram
    assert {METRICS[name].kind for name in resolve_gate(("exact",), "cuda")} == {MetricClass.EXACT}
    counters = {"engine_steps", "preemptions", "prefix_cache_hit_tokens"}
    assert set(EXACT_METRICS) == {*counters, "weight_bytes", "kv_bytes_per_token"}
    assert list(GATES) == [gate.word for gate in Gate]
    assert [word for word, names in GATES.items() if not names] == ["device"]
    assert IF_MEASURED["device"] == ("gpu_time",)


def test_the_help_text_lists_every_set() -> None:
    assert gate_help() == "metrics to gate: names, or the sets auto, exact, clock, cpu, vram, device, energy"


def test_the_words_of_a_gate_are_light() -> None:
    """Options list them in every pytest run, which imports no numpy."""
    code = "import sys, pytest_vllmperf.metrics.gates; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


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
    assert len(str(caught.value)) < 200  # a list of all metrics would hide what is wrong
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "near"), [("ttft.p5O", "ttft.p50"), ("clok", "clock"), ("throughput", "output_throughput")]
)
def test_an_unknown_word_names_the_nearest(word: str, near: str) -> None:
    with pytest.raises(SpecError, match=rf"{word}'; did you mean '{near}'\?; sets: "):
        resolve_gate((word,), "cuda")


STEPS = "steps [ms, lower]"


def test_a_custom_metric_is_found_by_its_key_and_not_among_the_others() -> None:
    metric = METRICS[STEPS]
    assert (metric.label, metric.unit.text(2.5), metric.better, metric.exact) == (
        "steps",
        "2.5 ms",
        Direction.LOWER,
        False,
    )
    assert STEPS in METRICS
    assert "steps" not in METRICS
    assert STEPS not in list(METRICS)
    assert METRICS["hits [share, higher, exact, once]"].unit.text(0.5) == "50 %"
    assert METRICS["hits [share, higher, exact, once]"].exact


def test_a_custom_metric_decides_where_it_was_recorded_whatever_the_gate_says() -> None:
    assert resolve_gate(("preemptions",), "cpu", [STEPS]) == ("preemptions", STEPS)
    assert resolve_gate((STEPS,), "cpu") == (STEPS,)
    assert STEPS in resolve_gate(("auto",), "cuda", [STEPS])
    assert resolve_gate(("limits",), "cpu", [STEPS]) == ()
    assert STEPS in resolve_gate(("limits", "clock"), "cpu", [STEPS])


def test_custom_metrics_come_last() -> None:
    assert METRICS.ordered(["z [lower]", STEPS, "tpot.p50", "ttft.p50", "none"]) == (
        "ttft.p50",
        "tpot.p50",
        STEPS,
        "z [lower]",
    )


@pytest.mark.parametrize(
    "name", ["ttft.p50", "ttft_p50", "ttft", "load_time", "clock", "auto", "limits", "gated", "all"]
)
def test_names_that_a_custom_metric_cannot_have(name: str) -> None:
    assert name_taken(name)


def test_names_that_it_can_have() -> None:
    assert not name_taken("steps")
    assert not name_taken("ttft_of_tools")
