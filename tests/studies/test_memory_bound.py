"""Is decoding bound by memory? Throughput and bandwidth used over batch sizes, and what the memory allows.

A step reads all weights, whatever the batch: as long as that takes longest, twice the batch is twice the throughput.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from pytest_vllmperf import Measurement, Workload, gpu
from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study, Tell

BATCHES = (1, 2, 4, 8, 16, 32, 64)
INPUT, OUTPUT = 32, 64
PAYS = 1.5
"""Twice the batch is said to pay where it gives this many times the throughput."""


COPIED = 256 * 2**20


def bandwidth_share(run: Measurement) -> float | None:
    """Per cent of the card's bandwidth that decoding used; on a CPU it is not measured."""
    try:
        return 100 * run.model_bandwidth_utilization
    except NotMeasuredError:
        return None


def bandwidth(study: Study) -> tuple[str, float | None]:
    """What the memory can do at most, in bytes/s, and where that is from: the card's, or a copy in one thread."""
    if study.on_gpu:
        return "the card's", gpu.devices()[0].memory_bandwidth
    source = np.ones(COPIED, np.uint8)
    target = np.empty_like(source)
    times = []
    for _ in range(8):
        begin = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - begin)
    return "copied in one thread", 2 * COPIED / min(times)  # each byte is read and written


def bytes_a_step(run: Measurement, batch: int) -> float:
    """Read in a step: all weights, and the KV cache of each request, which holds half its new tokens on average."""
    return run.weight_bytes + batch * (INPUT + OUTPUT / 2) * run.kv_bytes_per_token


@pytest.mark.vllmperf(iterations=5, warmup=1, device_pass="off")
def test_throughput_and_bandwidth_over_batch_sizes(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    engine = vllmperf.engine(**study.light(max_num_seqs=BATCHES[-1]))
    origin, limit = bandwidth(study)
    rows: list[list[object]] = []
    runs: list[Measurement] = []
    for batch in study.points(BATCHES, BATCHES[:2]):
        run = vllmperf.measure(
            Workload.synthetic(requests=batch, input_tokens=INPUT, output_tokens=OUTPUT), engine=engine
        )
        rate, read = run.output_throughput, bytes_a_step(run, batch)
        gain = rate / runs[-1].output_throughput if runs else None
        pays = None if gain is None else "pays" if gain >= PAYS else "does not pay"
        attainable = limit and batch * limit / read
        used = bandwidth_share(run)
        rows.append([batch, rate, attainable, run.tpot.p50 * 1e3, read * rate / batch / 1e9, used, gain, pays])
        runs.append(run)
    headers = ["batch", "tok/s", "attainable tok/s", "ms a token", "GB/s read", "bandwidth used %"]
    tell("decoding by batch size", [*headers, "twice the batch gives", ""], rows)
    weights, kv = runs[0].weight_bytes / 2**20, runs[0].kv_bytes_per_token
    tell(
        "what limits it",
        ["memory bandwidth", "GB/s", "weights MiB", "KV bytes a token"],
        [[origin, limit and limit / 1e9, weights, kv]],
    )
    assert all(study.are_steps(run, OUTPUT) for run in runs)  # one step for the whole batch
