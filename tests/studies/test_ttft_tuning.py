"""TTFT before and after tuning: token budgets of a step, chunked prefill, warm-up by prompt lengths, a prefix cache.

Published: from 340 to 112 ms.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import CLAIM, Study, Tell, claim

SHARED = 512
BEFORE: dict[str, Any] = {"enable_prefix_caching": False, "max_num_batched_tokens": 8192}
TUNINGS: dict[str, dict[str, Any]] = {
    "before": BEFORE,
    "budget of 2,048": {**BEFORE, "max_num_batched_tokens": 2048},
    "budget of 512": {**BEFORE, "max_num_batched_tokens": 512},
    "no chunked prefill": {**BEFORE, "enable_chunked_prefill": False},
    "prefix cache": {"enable_prefix_caching": True, "max_num_batched_tokens": 8192},
    "prefix cache, budget of 2,048": {"enable_prefix_caching": True, "max_num_batched_tokens": 2048},
}


def chats(study: Study) -> Workload:
    """A shared system prompt before questions of several lengths."""
    lengths = (SHARED + 32, SHARED + 256)
    requests = 256 if study.on_gpu else 24
    work = Workload.synthetic(requests=requests, input_tokens=lengths, output_tokens=16, shared_prefix_tokens=SHARED)
    return work.at(concurrency=32 if study.on_gpu else 8)


@pytest.mark.vllmperf(iterations=3, warmup=1, device_pass="off")
def test_what_each_tuning_does(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    rows = []
    hits: dict[str, bool] = {}
    for name, arguments in TUNINGS.items():
        run = vllmperf.measure(chats(study), engine=vllmperf.engine(**study.light(**arguments)))
        hits[name] = bool(run.prefix_cache_hit_tokens)
        rows.append([name, run.ttft.p50 * 1e3, run.ttft.p95 * 1e3, run.itl.p99 * 1e3, run.output_throughput])
    tell("TTFT by tuning", ["", "TTFT p50 ms", "p95", "ITL p99 ms", "tok/s"], rows)
    assert hits == {name: arguments["enable_prefix_caching"] for name, arguments in TUNINGS.items()}


@pytest.mark.vllmperf(iterations=4, warmup=1, device_pass="off")
def test_tuned_over_before(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    best = "prefix cache" if study.on_gpu else "prefix cache, budget of 2,048"
    engines = [vllmperf.engine(**study.light(**arguments)) for arguments in (TUNINGS[best], BEFORE)]
    compared = vllmperf.compare(engines[0], engines[1], chats(study))
    try:
        compared.assert_speedup(1.2, "ttft.p50")
    finally:
        tell(
            "tuned and before",
            ["", "TTFT p50 ms", "tok/s"],
            [
                ["tuned", compared.a.ttft.p50 * 1e3, compared.a.output_throughput],
                ["before", compared.b.ttft.p50 * 1e3, compared.b.output_throughput],
            ],
        )
        tell("tuned over before", CLAIM, [claim("TTFT p50", compared, "ttft.p50"), claim("throughput", compared)])


WARMED = (192, 448, 960, 1984)
"""Lengths of prompts: one, three, seven and fifteen of the CPU build's blocks, and a question of 64 tokens."""
QUESTION = 64


@pytest.mark.vllmperf(iterations=5, warmup=0, device_pass="off")
def test_warm_up_by_prompt_lengths(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    """Two requests of each length share all but the question, one after the other; the first iteration warms up."""
    engine = vllmperf.engine(**study.light(enable_prefix_caching=True, max_num_batched_tokens=2048))
    rows: list[list[object]] = []
    hits = []
    for tokens in WARMED:
        shared = tokens - QUESTION
        work = Workload.synthetic(requests=2, input_tokens=tokens, output_tokens=4, shared_prefix_tokens=shared)
        run = vllmperf.measure(work.at(concurrency=1), engine=engine)
        (cold, _), *warm = [
            [1e3 * (one.first_token_ts - one.queued_ts) for one in result.requests] for result in run.iterations[0]
        ]
        rows.append([tokens, cold, median(first for first, _ in warm), median(second for _, second in warm)])
        hits.append(run.prefix_cache_hit_tokens)
    headers = ["prompt", "first of its length: TTFT ms", "engine warmed up", "prefix warmed up"]
    tell("warm-up by prompt lengths", headers, rows)
    assert hits == [tokens - QUESTION for tokens in WARMED]
