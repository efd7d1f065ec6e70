"""The device pass on a real GPU: what CUPTI counts is stable, belongs to the engine, and costs a fresh one.

The model is a configuration of the studies with weights that vLLM makes up: nothing has to be written first.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.engines.base import Profiles, able
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.lab.driving import Driver
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.kernels import STORED_KERNELS
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from tests import needs

MODEL = str(Path(__file__).parents[1] / "studies" / "models" / "qwen3-0.6b")
ARGUMENTS: dict[str, Any] = {
    "load_format": "dummy",
    "skip_tokenizer_init": True,
    "dtype": "bfloat16",
    "max_model_len": 1024,
    "gpu_memory_utilization": 0.3,
}
SPEC = EngineSpec.create(MODEL, compilation_config={"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32]}, **ARGUMENTS)
WORK = Workload.synthetic(requests=32, input_tokens=64, output_tokens=64)
SETTINGS = MeasureSettings(2, 4, device_pass=3)
MOST_TRACE_BYTES = 50 * 2**20
NO_WORK_OF_ITS_OWN = """
class Own:
    \"\"\"A worker extension of the user's.\"\"\"
"""
FAILS = """
import pytest
from pytest_vllmperf import Workload

@pytest.mark.vllm({model!r}, enforce_eager=True, **{arguments!r})
@pytest.mark.parametrize("fails", [True, False])
def test_one(vllmperf, fails):
    work = Workload.synthetic(requests=8, input_tokens=16, output_tokens=16)
    run = vllmperf.measure(work, iterations=3, warmup=2)
    assert run.gpu_time > 0
    assert not fails
"""


@pytest.fixture(scope="module")
def target(perf: Lab, device: GpuDevice) -> Target:
    return perf.target(SPEC, GpuRequirement())


def profiled(perf: Lab, target: Target, settings: MeasureSettings = SETTINGS) -> Measurement:
    """A measurement on the engine that runs, or on a fresh one, with its device pass."""
    return perf.profile(target, WORK, settings, perf.measure(target, WORK, settings))


def measured(run: Measurement) -> Measurement:
    """The measurement, if it had a pass; else the reason is the failure."""
    assert run.engines[0].no_device_pass == ""
    return run


def shown(run: Measurement) -> str:
    """Durations of its measured iterations."""
    tokens = run.engines[0].values("output_throughput")
    return f"{median(tokens):,.0f} tok/s [{min(tokens):,.0f}, {max(tokens):,.0f}]"


@pytest.fixture(scope="module")
def without(perf: Lab, target: Target) -> Measurement:
    return perf.measure(target, WORK, SETTINGS)


@pytest.fixture(scope="module")
def first(perf: Lab, target: Target, without: Measurement) -> Measurement:
    perf.retire([target])
    return measured(profiled(perf, target))


def test_gpu_time_is_what_its_kernels_take(first: Measurement) -> None:
    (engine,) = first.engines
    times, kernels = engine.values("gpu_time"), engine.values("gpu_kernels")
    assert len(times) == SETTINGS.device_pass
    assert max(times) / min(times) < 1.03
    assert len(set(kernels)) == 1
    assert kernels[0] > 1000
    (table,) = engine.kernels
    assert table.seconds == pytest.approx(sum(times) / len(times), rel=1e-3)
    assert sum(one.times for one in table.all) == pytest.approx(kernels[0])
    assert len(table.kernels) <= STORED_KERNELS
    assert any("flash" in one.name.lower() or "attn" in one.name.lower() for one in table.kernels)


def test_busy_idle_and_steps_agree_with_gpu_time(first: Measurement) -> None:
    assert 0 < first.gpu_busy <= first.gpu_time * 1.001
    assert 0 <= first.gpu_idle_share < 1
    (engine,) = first.engines
    decode = first.gpu_time - first.gpu_time_prefill
    assert decode / first.gpu_time_decode_step == pytest.approx(median(engine.values("engine_steps")), rel=0.05)


def test_the_counted_iterations_are_those_of_an_engine_without_a_pass(
    first: Measurement, without: Measurement, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told, and not asserted: the wall clock is the host's."""
    with capsys.disabled():
        print(f"\nmeasured iterations: with a pass after them {shown(first)}, without one {shown(without)}")  # noqa: T201
    assert without.engines[0].passes == {}
    assert len(first.engines[0].values("output_throughput")) == len(without.engines[0].values("output_throughput"))


def test_a_fresh_engine_replaces_the_one_that_was_profiled_and_agrees_with_it(
    perf: Lab, target: Target, first: Measurement
) -> None:
    before = perf.slots.running_engine(target)
    again = measured(profiled(perf, target))
    assert before is not None
    assert perf.slots.running_engine(target) is not before
    assert again.gpu_time == pytest.approx(first.gpu_time, rel=0.01)
    assert again.gpu_kernels == first.gpu_kernels


def test_an_engine_without_a_pass_goes_on(perf: Lab, target: Target, first: Measurement) -> None:
    settings = replace(SETTINGS, device_pass=0)
    assert not profiled(perf, target, settings).engines[0].passes
    engine = perf.slots.running_engine(target)
    assert not profiled(perf, target, settings).engines[0].passes
    assert perf.slots.running_engine(target) is engine


@contextmanager
def busy_processes() -> Iterator[None]:
    """One for each CPU of the machine, each computing."""
    spin = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def test_busy_neighbours_on_the_cpu_do_not_move_it(perf: Lab, target: Target, first: Measurement) -> None:
    with busy_processes():
        beside = measured(profiled(perf, target))
    assert beside.gpu_time == pytest.approx(first.gpu_time, rel=0.01)
    # The engine core accepts requests while it steps: a busy host makes other batches of prefills.
    assert beside.gpu_kernels == pytest.approx(first.gpu_kernels, rel=0.01)


def test_a_trace_is_json_and_small(perf: Lab, target: Target, first: Measurement, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    with perf.engines([target]) as (engine,):
        gpus_of = able(engine, Profiles)
        gpus_of.profile_start(path)
        perf.slots.was_profiled(target)
        Driver(engine, WORK, None).iterate()
        (rank,) = gpus_of.profile_stop()
    assert path.stat().st_size < MOST_TRACE_BYTES
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    assert 0 < len(kernels) <= 1.1 * rank.count


def test_a_worker_extension_of_the_users_own_is_the_reason(perf: Lab, device: GpuDevice, tmp_path: Path) -> None:
    (tmp_path / "own_extension.py").write_text(NO_WORK_OF_ITS_OWN)
    own: dict[str, Any] = {**ARGUMENTS, "worker_extension_cls": "own_extension.Own", "enforce_eager": True}
    spec = EngineSpec.create(
        MODEL,
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])},
        **own,
    )
    run = profiled(perf, perf.target(spec, GpuRequirement()))
    assert "worker_extension_cls" in run.engines[0].no_device_pass
    assert run.engines[0].passes == {}
    assert run.output_throughput > 0


@needs.SERVE
def test_a_served_engine_has_it_too(perf: Lab, device: GpuDevice) -> None:
    """A whole checkpoint: a server needs its tokenizer."""
    served = EngineSpec.create(
        "vllmperf:qwen3-0.6b", backend="serve", max_model_len=1024, gpu_memory_utilization=0.3, enforce_eager=True
    )
    run = measured(profiled(perf, perf.target(served, GpuRequirement())))
    (engine,) = run.engines
    assert len(engine.values("gpu_time")) == SETTINGS.device_pass
    assert run.gpu_kernels > 1000
    assert len(engine.kernels) == 1


def test_failed_tests_leave_traces(pytester: pytest.Pytester, perf: Lab, device: GpuDevice) -> None:
    perf.release()
    pytester.makepyfile(test_fails=FAILS.format(model=MODEL, arguments=ARGUMENTS))
    result = pytester.runpytest_subprocess("--vllmperf", "--vllmperf-trace=traces", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1, passed=1)
    traces = list(pytester.path.glob("traces/**/*.json*"))
    assert len(traces) == 1
    assert traces[0].stat().st_size < MOST_TRACE_BYTES
    opened = gzip.open if traces[0].suffix == ".gz" else open
    with opened(traces[0], "rt") as file:
        assert json.load(file)["traceEvents"]
