"""TTFT before and after tuning: token budgets of a step, and a prefix cache that is warm.

Published: from 340 to 112 ms.
"""

from __future__ import annotations

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
    tuned, before = list(TUNINGS.values())[-1], BEFORE
    engines = [vllmperf.engine(**study.light(**arguments)) for arguments in (tuned, before)]
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
