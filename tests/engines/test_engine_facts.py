"""What a child tells of its engine becomes a record."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.engines import over_http
from pytest_vllmperf.engines.base import run_result
from pytest_vllmperf.engines.child_engine import engine_facts
from pytest_vllmperf.records.answers import ClientAudit
from pytest_vllmperf.records.engine import EngineFacts, MemoryFacts, WeightLayers
from pytest_vllmperf.records.scheduling import Drafting, Occupation
from pytest_vllmperf.records.served import Served, ServerMetrics

LLAMA = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
LAYERS = {"method": "Plain", "quantized": False, "layers": 2, "weights": 8, "held_bytes": 16}


def facts(log: str = "", declared: dict[str, Any] | None = None, **changed: Any) -> EngineFacts:
    weights = {
        "declared": declared or {}, "asked": None, "resolved": None, "dummy": False, "loaded_bytes": 5,
        "layers": [LAYERS], "idle_bytes": 3,
    }  # fmt: skip
    told = {
        "device": "cuda", "device_name": "NVIDIA H200", "max_model_len": 64, "vocab_size": 100,
        "special_token_ids": [0, 1], "prefix_caching": True, "kv_cache_tokens": 512, "kv_cache_bytes": 4096,
        "versions": {"vllm": "0"}, "resolved": {"dtype": "bfloat16"}, "load_seconds": 10.0, "stored_bytes": 7,
        "weights": weights,
    }  # fmt: skip
    return engine_facts({**told, **changed}, 2.5, log)


def test_an_engine_may_tell_little() -> None:
    """The reference knows nothing of a KV cache's blocks, nor of vLLM's profile."""
    found = facts()
    assert (found.memory, found.kv_blocks, found.max_concurrency, found.expected_kv_bytes_per_token) == (None,) * 4
    assert found.load_time == {"import": 2.5, "total": 10.0}
    assert found.weights is not None
    assert (found.weights.layers, found.weights.idle_bytes) == ((WeightLayers(**LAYERS),), 3)


def test_what_it_tells_of_its_memory_is_kept() -> None:
    memory = {"peak_activation": 1, "non_torch": 2, "cuda_graphs": None, "torch_reserved": 4}
    found = facts(memory=memory, kv_blocks=32, kv_cache_groups=2, max_concurrency=8.0)
    assert found.memory == MemoryFacts(1, 2, None, 4)
    assert (found.kv_blocks, found.kv_cache_groups, found.max_concurrency) == (32, 2, 8.0)
    assert found.kv_bytes_per_token is None


@pytest.mark.parametrize(
    ("resolved", "size"),
    [
        ({"dtype": "bfloat16"}, 131_072),
        ({"dtype": "float32"}, 262_144),
        ({"dtype": "bfloat16", "kv_cache_dtype": "auto"}, 131_072),
        ({"dtype": "bfloat16", "kv_cache_dtype": None}, 131_072),
        ({"dtype": "float32", "kv_cache_dtype": "bfloat16"}, 131_072),
        ({"dtype": "bfloat16", "kv_cache_dtype": "fp8"}, 65_536),
        ({"dtype": "bfloat16", "tensor_parallel_size": 8}, 131_072),
        ({"dtype": "bfloat16", "tensor_parallel_size": 16}, 262_144),
        ({}, None),
    ],
)
def test_the_kv_cache_is_foretold_from_the_configuration(resolved: dict[str, Any], size: int | None) -> None:
    assert facts(kv_config=LLAMA, resolved=resolved).expected_kv_bytes_per_token == size
    assert facts(kv_config=None, resolved=resolved).expected_kv_bytes_per_token is None


@pytest.mark.parametrize(
    ("declared", "size"),
    [
        ({"kv_cache_scheme": {"num_bits": 8}}, None),
        ({"kv_cache_quant_algo": "FP8"}, None),
        ({"quantization": {"kv_cache_quant_algo": "FP8"}}, None),
        ({"quantization": {"kv_cache_scheme": {"num_bits": 8}}}, None),
        ({"kv_cache_scheme": None, "quantization": {"kv_cache_quant_algo": None}}, 131_072),
        ({"quantization": "awq"}, 131_072),
    ],
)
def test_a_checkpoint_that_asks_for_another_cache_leaves_it_open_until_vllm_tells(
    declared: dict[str, Any], size: int | None
) -> None:
    assert facts(declared=declared, kv_config=LLAMA).expected_kv_bytes_per_token == size
    resolved = {"dtype": "bfloat16", "kv_cache_dtype": "fp8_e4m3"}
    assert facts(declared=declared, kv_config=LLAMA, resolved=resolved).expected_kv_bytes_per_token == 65_536


@pytest.mark.parametrize(
    ("told", "kept"),
    [({}, (None, None)), ({"kernels_compiled": 0, "torch_peak_bytes": None}, (0, None)),
     ({"kernels_compiled": 3, "torch_peak_bytes": 70}, (3, 70))],
)  # fmt: skip
def test_what_happened_on_the_workers_is_kept_of_a_run(
    told: dict[str, int | None], kept: tuple[int | None, int | None]
) -> None:
    counted = {"engine_steps": 1, "preemptions": 0, "prefix_cache_hit_tokens": 0, "cpu_seconds": 0.5}
    answer = {"requests": [], "itl_ns": [], "resident_bytes": 9, "busy_seconds": 1.0, **counted, **told}
    found = run_result(answer, [])
    assert (found.kernels_compiled, found.torch_peak_bytes) == kept


@pytest.mark.parametrize("told", [None, 5e9])
def test_instructions_are_kept_of_a_run(told: float | None) -> None:
    counted = {"engine_steps": 1, "preemptions": 0, "prefix_cache_hit_tokens": 0, "cpu_seconds": 0.5}
    answer = {"requests": [], "itl_ns": [], "resident_bytes": 9, "busy_seconds": 1.0, **counted}
    assert run_result({**answer, "instructions": told}, []).instructions == told
    assert run_result(answer, []).instructions is None  # of a child that does not know them


def test_the_schedulers_figures_are_kept_of_a_run() -> None:
    counted = {"engine_steps": 1, "preemptions": 0, "prefix_cache_hit_tokens": 0, "cpu_seconds": 0.5}
    answer = {"requests": [], "itl_ns": [], "resident_bytes": 9, "busy_seconds": 1.0, **counted}
    told = {"occupation": {"running": 3, "kv_usage": 0.5}, "drafting": {"drafts": 2, "proposed": 8, "accepted": 6}}
    found = run_result({**answer, **told}, [])
    assert found.occupation == Occupation(running=3, waiting=None, kv_usage=0.5)
    assert found.drafting == Drafting(drafts=2, proposed=8, accepted=6)
    without = run_result({**answer, "occupation": {}, "drafting": None}, [])
    assert (without.occupation, without.drafting) == (None, None)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (ServerMetrics(drafts=2, draft_tokens=8, accepted_tokens=6), Drafting(2, 8, 6)),
        (ServerMetrics(draft_tokens=8, accepted_tokens=0), Drafting(None, 8, 0)),
        (ServerMetrics(drafts=0, draft_tokens=0, accepted_tokens=0), None),
        (ServerMetrics(), None),
    ],
)
def test_what_a_server_says_of_drafts_is_kept_of_a_run(told: ServerMetrics, kept: Drafting | None) -> None:
    served = Served(audit=ClientAudit(0, 0, None, None, ()), server=told)
    assert over_http.run_result(over_http.Sent(served, 1.0), over_http.ServerUse()).drafting == kept


def test_why_a_machine_does_not_let_a_metric_be_measured_is_kept() -> None:
    assert facts(unmeasured={"cpu_instructions": "no counters"}).unmeasured == {"cpu_instructions": "no counters"}
    assert facts().unmeasured == {}
