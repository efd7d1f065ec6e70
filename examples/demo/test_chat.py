"""The main job on a model that the package makes itself: real vLLM, on a CPU, in a minute.

pytest --vllmperf-update examples/demo                    # record this machine's baseline
pytest --vllmperf examples/demo                           # gate: green
DEMO_MAX_NUM_SEQS=4 pytest --vllmperf examples/demo       # a slower engine: red
"""

import os

import pytest

from pytest_vllmperf import Workload

CHAT = Workload.synthetic(requests=32, input_tokens=64, output_tokens=32)
MAX_NUM_SEQS = int(os.environ.get("DEMO_MAX_NUM_SEQS", "16"))
TINY = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, "kv_cache_memory_bytes": 64 * 2**20}

pytestmark = [
    pytest.mark.vllm("vllmperf:tiny", max_num_seqs=MAX_NUM_SEQS, **TINY),
    pytest.mark.vllmperf(iterations=5, warmup=2),
]


def test_throughput(vllmperf):
    run = vllmperf.measure(CHAT)
    assert run.ttft.p99 < 60  # an absolute promise, in seconds
    vllmperf.check(run)


def test_chat_template(vllmperf):
    chats = [[{"role": "user", "content": f"Tell me about the number {n}."}] for n in range(8)]
    run = vllmperf.measure(Workload.chat(chats, output_tokens=16, concurrency=4))
    vllmperf.check(run)


def test_batching_pays(vllmperf):
    batched = vllmperf.engine("vllmperf:tiny", max_num_seqs=16, **TINY)
    one_by_one = vllmperf.engine("vllmperf:tiny", max_num_seqs=1, **TINY)
    work = Workload.synthetic(requests=16, input_tokens=64, output_tokens=16)
    # in CPU time, which a busy neighbour does not take away; on a GPU leave the metric out: it is throughput then
    vllmperf.compare(batched, one_by_one, work, warmup=1).assert_speedup(1.5, metric="cpu_seconds")
