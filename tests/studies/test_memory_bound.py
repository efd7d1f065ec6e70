"""Is decoding bound by memory? Throughput and bandwidth used over batch sizes.

A step reads all weights, whatever the batch: as long as that takes longest, twice the batch is twice the throughput.
"""

from __future__ import annotations

import pytest

from pytest_vllmperf import Measurement, Workload
from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study, Tell

BATCHES = (1, 2, 4, 8, 16, 32, 64)
OUTPUT = 64
PAYS = 1.5
"""Twice the batch is said to pay where it gives this many times the throughput."""


def bandwidth_share(run: Measurement) -> str:
    """Share of the memory's bandwidth that decoding used; on a CPU nobody knows the bandwidth."""
    try:
        return f"{run.model_bandwidth_utilization:.0%}"
    except NotMeasuredError:
        return "not measured"


def weights_read(run: Measurement, batch: int) -> float:
    """Bytes of weights that steps read in a second."""
    return run.engine_steps * run.weight_bytes * run.request_throughput / batch


@pytest.mark.vllmperf(iterations=5, warmup=1, device_pass="off")
def test_throughput_and_bandwidth_over_batch_sizes(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    engine = vllmperf.engine(**study.light(max_num_seqs=BATCHES[-1]))
    rows: list[list[object]] = []
    before = 0.0
    for batch in BATCHES:
        work = Workload.synthetic(requests=batch, input_tokens=32, output_tokens=OUTPUT)
        run = vllmperf.measure(work, engine=engine)
        assert run.engine_steps == OUTPUT  # one step for the whole batch
        rate = run.output_throughput
        gain = f"{rate / before:.2f}, {'pays' if rate / before >= PAYS else 'does not pay'}" if before else ""
        rows.append([batch, rate, run.tpot.p50 * 1e3, weights_read(run, batch) / 1e9, bandwidth_share(run), gain])
        before = rate
    headers = ["batch", "tok/s", "ms a token", "GB/s of weights", "bandwidth used", "twice the batch gives"]
    tell(f"decoding by batch size, {run.weight_bytes / 2**20:,.0f} MiB of weights", headers, rows)
