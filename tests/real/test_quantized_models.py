"""Models that are made in a quantized layout, in real vLLM.

Here stands the format that the CPU build runs on any processor; the 4-bit and fp8 kernels need AVX-512 or AMX, and
run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.lab.driving import measure
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.workload import Workload

WORK = Workload.synthetic(requests=4, input_tokens=16, output_tokens=8)


def test_int8_is_what_vllm_runs(start: Callable[..., Engine]) -> None:
    engine = start(model="vllmperf:tiny-int8", dtype="bfloat16")
    try:
        assert engine.facts.resolved["quantization"] == "compressed-tensors"
        run = measure(engine, WORK, MeasureSettings(warmup=0, iterations=1), lambda _: None)
        assert [request.output_tokens for request in run.iterations[0].requests] == [8] * 4
    finally:
        engine.close()
