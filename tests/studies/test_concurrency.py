"""One to 64 clients, 256 on a GPU: throughput, tokens/s of each, and where preemption begins.

Published: 50 and more at a stable rate, some 30 tokens/s each.
"""

from __future__ import annotations

import pytest

from pytest_vllmperf import Measurement, Workload
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.records.spec import EngineSpec

from .conftest import Study, Tell

FIT = 16
"""Requests that the small KV cache holds to their end."""
BLOCK = 32
INPUT, OUTPUT = 64, 64


def clients(study: Study) -> tuple[int, ...]:
    return (1, 2, 4, 8, 16, 32, 64, 128, 256) if study.on_gpu else (1, 2, 4, 8, 16, 32, 64)


def swept(vllmperf: VllmPerf, study: Study, engine: EngineSpec) -> dict[int, Measurement]:
    """By number of clients: each sends two requests, one after the other."""
    found = {}
    for number in study.points(clients(study), [FIT, 2 * FIT]):
        work = Workload.synthetic(requests=2 * number, input_tokens=INPUT, output_tokens=OUTPUT)
        found[number] = vllmperf.measure(work.at(concurrency=number), engine=engine)
    return found


def show(tell: Tell, title: str, runs: dict[int, Measurement]) -> None:
    tell(
        title,
        ["clients", "tok/s", "tok/s each", "TTFT p50 ms", "running", "waiting", "KV used %", "preemptions"],
        [
            [
                number, run.output_throughput, run.output_throughput / number, run.ttft.p50 * 1e3,
                run.running_max, run.waiting_max, run.kv_usage_max * 100, run.preemptions,
            ]
            for number, run in runs.items()
        ],
    )  # fmt: skip


@pytest.mark.vllmperf(iterations=2, warmup=1, device_pass="off")
def test_with_room_for_all_nobody_is_preempted(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    engine = vllmperf.engine(**study.light(max_num_seqs=clients(study)[-1], block_size=BLOCK))
    runs = swept(vllmperf, study, engine)
    show(tell, "a KV cache with room for all", runs)
    assert [run.preemptions for run in runs.values()] == [0] * len(runs)
    assert [run.running_max for run in runs.values()] == list(runs)


@pytest.mark.quick
@pytest.mark.vllmperf(iterations=1, warmup=0, device_pass="off", allow="preemptions")
def test_preemption_begins_where_the_cache_is_full(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    needed = -(-(INPUT + OUTPUT) // BLOCK)
    small = {"num_gpu_blocks_override": FIT * needed + 1, "block_size": BLOCK}  # one is vLLM's own
    engine = vllmperf.engine(**study.light(max_num_seqs=clients(study)[-1], **small, max_model_len=512))
    runs = swept(vllmperf, study, engine)
    show(tell, f"a KV cache that holds {FIT} requests", runs)
    preempting = [number for number, run in runs.items() if run.preemptions]
    assert preempting == [number for number in runs if number > FIT]
