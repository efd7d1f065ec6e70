"""A service on a model that the package makes itself: real `vllm serve`, on a CPU, in a minute.

pytest --vllmperf-update examples/serving                 # record this machine's baseline
pytest --vllmperf examples/serving                        # gate: green
DEMO_MAX_NUM_SEQS=2 pytest --vllmperf examples/serving    # a slower server: red
"""

import os

import pytest

from pytest_vllmperf import Workload

CHATS = [[{"role": "user", "content": f"Tell me about the number {n}."}] for n in range(32)]
MAX_NUM_SEQS = int(os.environ.get("DEMO_MAX_NUM_SEQS", "16"))
TINY = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, "kv_cache_memory_bytes": 64 * 2**20}

pytestmark = [
    pytest.mark.vllm("vllmperf:tiny", backend="serve", max_num_seqs=MAX_NUM_SEQS, **TINY),
    # Server and load generator share this CPU: now and then a request is sent late. On a GPU leave `allow` out.
    pytest.mark.vllmperf(iterations=5, warmup=2, allow="client"),
]


def test_eight_at_a_time(vllmperf):
    run = vllmperf.measure(Workload.chat(CHATS, output_tokens=32).at(concurrency=8))
    assert run.failed_requests == 0
    vllmperf.check(run)


def test_a_promise_is_kept(vllmperf):
    run = vllmperf.measure(Workload.chat(CHATS, output_tokens=32).at(rate=8))
    run.assert_slo(ttft=2.0, tpot=0.5, goodput=0.9)  # seconds; generous, as this is a CPU
    vllmperf.check(run)
