"""The memory-optimised configuration against the default: 95 % of the card, 2,048 tokens of context, 64 sequences."""

from __future__ import annotations

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import CLAIM, MODELS, Study, Tell, claim

OPTIMISED = {"gpu_memory_utilization": 0.95, "max_model_len": 2048, "max_num_seqs": 64}


@pytest.mark.vllmperf(iterations=4, warmup=2, device_pass="off")
def test_optimised_over_default(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    if not study.on_gpu:
        pytest.skip("the share of a card's memory needs a GPU; none was found")
    model = {"model": str(MODELS / "qwen3-0.6b"), "dtype": "bfloat16", "load_format": "dummy"}
    dummy = {**model, "skip_tokenizer_init": True}
    work = Workload.synthetic(requests=256, input_tokens=256, output_tokens=128)
    optimised, default = vllmperf.engine(**dummy, **OPTIMISED), vllmperf.engine(**dummy)
    compared = vllmperf.compare(optimised, default, work, way="restart")
    a, b = compared.a, compared.b
    tell(
        "the memory-optimised configuration and the default",
        ["", "tok/s", "TTFT p50 ms", "KV cache tokens", "requests of max_model_len"],
        [
            ["optimised", a.output_throughput, a.ttft.p50 * 1e3, a.kv_cache_tokens, a.kv_cache_tokens / 2048],
            ["default", b.output_throughput, b.ttft.p50 * 1e3, b.kv_cache_tokens, b.kv_cache_tokens / 40960],
        ],
    )
    tell("memory-optimised over default", CLAIM, [claim("throughput", compared)])
    assert a.kv_cache_tokens > b.kv_cache_tokens
