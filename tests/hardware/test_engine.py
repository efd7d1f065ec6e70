"""vLLM on a GPU: its ledger against NVML, its memory after its end, and what it draws."""

from __future__ import annotations

import os
import signal

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec

GIB = 2**30
WORK = Workload.synthetic(requests=32, input_tokens=128, output_tokens=256)
SPEC = EngineSpec.create("vllmperf:qwen3-0.6b", gpu_memory_utilization=0.3, max_model_len=1024)


@pytest.fixture(scope="module")
def target(perf: Lab, device: GpuDevice) -> Target:
    return perf.target(SPEC, GpuRequirement())


@pytest.fixture(scope="module")
def run(perf: Lab, target: Target) -> Measurement:
    return perf.measure(target, WORK, MeasureSettings(None, 5))


def test_a_sound_engine_is_valid(run: Measurement) -> None:
    assert run.problems == ()


def test_the_ledger_adds_up_to_what_nvml_sees(run: Measurement) -> None:
    ledger = run.vram
    assert ledger is not None
    assert ledger.device is not None
    assert ledger.device.engine is not None
    assert ledger.accounted is not None
    assert ledger.difference is not None
    assert abs(ledger.difference) < 2 * GIB
    assert ledger.others is not None
    assert ledger.others < GIB
    assert ledger.weights == pytest.approx(1.19e9, rel=0.1)  # 596M numbers of two bytes, embedding tied


def test_kv_cache_takes_what_the_configuration_means(run: Measurement) -> None:
    assert run.kv_bytes_per_token == 114_688


def test_energy_and_bandwidth_are_plausible(run: Measurement, device: GpuDevice) -> None:
    assert device.power_limit is not None
    assert 0.05 * device.power_limit < run.gpu_power < 1.1 * device.power_limit
    assert run.joules_per_token * run.output_throughput == pytest.approx(run.gpu_power, rel=0.25)
    assert run.tokens_per_joule == pytest.approx(1 / run.joules_per_token, rel=0.05)
    assert 0.01 < run.model_bandwidth_utilization < 1
    assert run.cost_per_million_tokens(3.0) > 0


@pytest.fixture(scope="module")
def warm_runs(perf: Lab, target: Target, run: Measurement) -> list[Measurement]:
    """Two more starts, which find in caches what the first one may have compiled."""
    runs = []
    for _ in range(2):
        perf.retire([target])
        runs.append(perf.measure(target, WORK, MeasureSettings(None, 3)))
    return runs


def test_exact_metrics_are_the_same_on_a_fresh_engine(run: Measurement, warm_runs: list[Measurement]) -> None:
    for again in warm_runs:
        assert (again.weight_bytes, again.kv_bytes_per_token) == (run.weight_bytes, run.kv_bytes_per_token)


def test_torchs_peak_is_the_same_on_all_warm_starts(run: Measurement, warm_runs: list[Measurement]) -> None:
    assert [one.engines[0].cold_start for one in (run, *warm_runs)] == [True, False, False]
    assert warm_runs[0].torch_peak_bytes == warm_runs[1].torch_peak_bytes


def test_a_killed_engine_gives_its_memory_back(perf: Lab, target: Target) -> None:
    pid = perf.ask(target, lambda engine: engine.pid)
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    perf.slots.discard([target])
    perf.release()  # raises when the memory does not come back
    assert perf.measure(perf.target(SPEC, None), WORK, MeasureSettings(1, 1)).problems == ()
