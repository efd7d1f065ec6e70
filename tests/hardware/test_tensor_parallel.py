"""One engine over two GPUs: seen, accounted and given back as one."""

from __future__ import annotations

import pytest

from pytest_vllmperf import Workload, gpu
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec

pytestmark = pytest.mark.skipif(len(gpu.devices()) < 2, reason="needs 2 x GPU")

GIB = 2**30
SPEC = EngineSpec.create("vllmperf:qwen3-0.6b", gpu_memory_utilization=0.5, max_model_len=1024, enforce_eager=True)
WORK = Workload.synthetic(requests=32, input_tokens=128, output_tokens=128)


def test_an_engine_over_two_gpus(perf: Lab) -> None:
    run = perf.measure(perf.target(SPEC, GpuRequirement(count=2)), WORK, MeasureSettings(None, 3))
    assert run.problems == ()
    assert run.gpus == len({trace.uuid for trace in run.traces}) == 2
    for trace in run.traces:
        held = [reading.used_bytes for reading in trace.readings]
        assert all(used is not None and used > 50 * GIB for used in held)
    assert run.kv_bytes_per_token == 114_688  # of both ranks together
    assert run.weight_bytes == pytest.approx(1.19e9, rel=0.1)
    assert run.vram is not None
    assert run.vram.difference is not None
    assert run.vram.before is not None
    assert run.vram.before > GIB  # two contexts, and the buffers of NCCL
    assert abs(run.vram.difference) < 3 * GIB  # 1.3 GiB a GPU were seen
    assert run.cost_per_million_tokens(3.0) == pytest.approx(2 * 3.0 / 3600 / run.output_throughput * 1e6)
    perf.release()  # raises when the memory of either does not come back
