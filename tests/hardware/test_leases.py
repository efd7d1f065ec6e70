"""Workers of one run and the GPUs of one host: each GPU belongs to one of them at a time."""

from __future__ import annotations

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuDevice

SUITE = """
import pathlib
import pytest
from pytest_vllmperf import Workload

@pytest.mark.gpu
@pytest.mark.vllm("vllmperf:qwen3-0.6b", gpu_memory_utilization=0.9, max_model_len=1024, enforce_eager=True)
@pytest.mark.parametrize("number", range({tests}))
def test_whole(vllmperf, number):
    run = vllmperf.measure(Workload.synthetic(requests=16, input_tokens=64, output_tokens=64), iterations=3, warmup=4)
    assert run.problems == ()
    (trace,) = run.traces
    pathlib.Path(f"gpu-of-{{number}}").write_text(trace.uuid)
"""


def test_twice_as_many_workers_take_the_gpus_in_turns(pytester: pytest.Pytester, device: GpuDevice) -> None:
    """Two engines that take nine tenths of a GPU each do not fit on it at the same time."""
    gpus = [one.uuid for one in gpu.devices() if one.name == device.name]
    workers = 2 * len(gpus)
    pytester.makepyfile(test_whole=SUITE.format(tests=workers))
    result = pytester.runpytest_subprocess("--vllmperf", "-n", str(workers), "-p", "no:cacheprovider")
    result.assert_outcomes(passed=workers)
    assert {file.read_text() for file in pytester.path.glob("gpu-of-*")} == set(gpus)
