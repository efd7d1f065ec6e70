"""Measuring on GPUs: what was seen of them meanwhile."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.driving import measure
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.ledger import DeviceMemory, VramLedger
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.lab.conftest import A6000, H200, OWN, SECOND, RunningEngine, ScriptedNvml

GIB = 2**30
LONG = 60.0
"""Seconds that nothing here takes."""

WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5, concurrency=2)
ONCE = MeasureSettings(warmup=1, iterations=2)
# Ten steps of half a second: a warm-up from 0 to 5 s on the engine's clock, iterations from 5 to 10 and 10 to 15.
SPEC = EngineSpec.create("m", step_seconds=0.5, prefill_seconds_per_token=0, weight_bytes=49_000_000_000)
BUSY = GpuReading(0.0, 101 * GIB, {OWN: 100 * GIB})


def on(*gpus: GpuDevice) -> Target:
    return Target(SPEC, gpus)


def reading(at: float, **changed: Any) -> GpuReading:
    plain = GpuReading(at, 100 * GIB, {OWN: 90 * GIB}, 0.9, 300.0, None, 1.98e9, 3.2e9, 61.0, 0)
    return replace(plain, **changed)


def trace(uuid: str = "GPU-1", **at_7: Any) -> GpuTrace:
    """A reading a second of 15; the one after 7 s, in the first iteration, may be otherwise."""
    return GpuTrace(uuid, tuple(reading(at, **(at_7 if at == 7 else {})) for at in range(16)))


def test_what_was_seen_of_the_devices_becomes_metrics(real: Lab, nvml: ScriptedNvml) -> None:
    nvml.traces["GPU-1"] = trace(power=0.0, used_bytes=120 * GIB)
    run = real.measure(on(H200), WORKLOAD, ONCE)
    assert nvml.watched == [("GPU-1",)]
    assert (run.problems, run.transient, run.gpus) == ((), False, 1)
    assert run.traces == (nvml.traces["GPU-1"],)
    assert run.samples("gpu_power") == [[250.0, 300.0]]
    assert run.samples("gpu_energy") == [[1200.0, 1500.0]]
    assert run.samples("joules_per_token") == [[60.0, 75.0]]
    assert run.samples("gpu_memory_peak") == [[120 * GIB, 100 * GIB]]
    assert run.model_bandwidth_utilization == pytest.approx(10 * 49e9 / (5 * 4.9e12), rel=1e-5)
    assert run.cost_per_million_tokens(3.6) == pytest.approx(250.0)  # 4 tokens/s


def test_the_memory_over_time_begins_with_the_start_of_the_engine(
    real: Lab, nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([-3.0, -1.0])  # the start begins and ends; the simulated engine's own clock begins at zero
    monkeypatch.setattr("pytest_vllmperf.lab.slots.time.monotonic", lambda: next(clock))
    nvml.start_traces["GPU-1"] = GpuTrace("GPU-1", (reading(-2.0, used_bytes=GIB), reading(-1.5, used_bytes=50 * GIB)))
    nvml.traces["GPU-1"] = GpuTrace("GPU-1", (reading(-9.0), reading(7.0), reading(12.0, used_bytes=None)))
    (found,) = real.measure(on(H200), WORKLOAD, ONCE).timelines
    assert found is not None
    assert [(one.name, one.begin, one.end) for one in found.phases] == [
        ("loading", 0.0, 2.0),
        ("warm-up", 3.0, 8.0),
        ("measuring", 8.0, 18.0),
    ]
    assert [(one.at, one.used_bytes) for one in found.devices] == [((1.0, 1.5, 10.0), (GIB, 50 * GIB, 100 * GIB))]


def test_each_engine_start_has_a_timeline_of_its_own(
    real: Lab, nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_vllmperf.lab.slots.time.monotonic", lambda: 0.0)
    runs = []
    for second in (7.0, 8.0):
        nvml.traces["GPU-1"] = GpuTrace("GPU-1", (reading(second),))
        runs.append(real.measure(on(H200), WORKLOAD, ONCE))
        real.retire([on(H200)])
    both = runs[0].with_engines_of(runs[1])
    assert [line and line.devices[0].at for line in both.timelines] == [(7.0,), (8.0,)]


def test_on_a_cpu_there_is_no_timeline(real: Lab) -> None:
    assert real.measure(on(), WORKLOAD, ONCE).timelines == (None,)


def test_the_roofline_is_that_of_all_devices_or_unknown(real: Lab) -> None:
    fast = replace(H200, flops=1e15)
    found = [
        real.measure(on(*gpus), WORKLOAD, ONCE).roofline
        for gpus in ((fast,), (fast, replace(fast, uuid="GPU-3")), (fast, SECOND), (H200, A6000), ())
    ]
    told = [one and (one.memory_bandwidth, one.flops, one.weights) for one in found]
    assert told == [(4.9e12, 1e15, 1000), (9.8e12, 2e15, 2000), (9.8e12, None, 2000), None, None]


def test_the_bandwidth_is_that_of_all_devices_or_unknown(real: Lab) -> None:
    one, two = (real.measure(on(*gpus), WORKLOAD, ONCE) for gpus in ((H200,), (H200, SECOND)))
    assert two.model_bandwidth_utilization == pytest.approx(one.model_bandwidth_utilization / 2)
    assert real.measure(on(H200, A6000), WORKLOAD, ONCE).samples("model_bandwidth_utilization") == []
    assert two.gpus == 2


@pytest.mark.parametrize(
    ("seen", "problems", "transient"),
    [
        (
            trace(clock_events=0x20),
            ("the GPU slowed its clocks in iteration 1: software thermal slowdown at 61 °C [throttling]",),
            True,
        ),
        (
            trace(processes={OWN: 0, 9: GIB}),
            ("process 9 started using the GPU with 1,024 MiB during this run [processes]",),
            True,
        ),
        (replace(trace(), lost="the GPU is gone"), ("the GPU is gone [lost]",), False),
        (
            replace(trace(clock_events=0x20), lost="gone"),
            (
                "the GPU slowed its clocks in iteration 1: software thermal slowdown at 61 °C [throttling]",
                "gone [lost]",
            ),
            False,
        ),
    ],
)
def test_what_was_seen_may_void_a_measurement(
    real: Lab, nvml: ScriptedNvml, seen: GpuTrace, problems: tuple[str, ...], transient: bool
) -> None:
    nvml.traces["GPU-1"] = seen
    run = real.measure(on(H200), WORKLOAD, ONCE)
    assert (tuple(map(str, run.problems)), run.transient) == (problems, transient)
    allowed = real.measure(on(H200), WORKLOAD, ONCE, ("throttling", "processes", "lost"))
    assert (allowed.problems, allowed.transient) == ((), False)


def test_what_was_seen_of_other_engines_devices_is_left_out(real: Lab) -> None:
    with real.engines([on(H200)]) as (engine,):
        run = measure(engine, WORKLOAD, ONCE, lambda _: None)
        found = real.measurement(on(H200), WORKLOAD, run, engine, (replace(trace("GPU-2"), lost="gone"), trace()))
    assert (found.traces, found.problems) == ((trace(),), ())


def test_two_engines_are_watched_together(real: Lab, nvml: ScriptedNvml) -> None:
    targets = (on(H200, A6000), replace(on(H200, A6000), spec=SPEC.with_args(seed=1)))
    Pair(real, Sharing(Way.RESIDENT, targets), WORKLOAD, ONCE).measure_round()
    assert nvml.watched == [("GPU-1", "GPU-2")]


def test_the_ledger_is_of_the_engines_processes_on_all_their_devices(real: Lab, nvml: ScriptedNvml) -> None:
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
        nvml.looks["GPU-1"] = [
            GpuReading(0.0, 60 * GIB, {OWN: GIB, child.pid: 50 * GIB, 1: 9 * GIB}, free_bytes=67 * GIB)
        ]
        nvml.looks["GPU-3"] = [GpuReading(0.0, 51 * GIB, {child.pid: 51 * GIB}, free_bytes=76 * GIB)]
        run = real.measure(on(H200, SECOND), WORKLOAD, ONCE)
        child.communicate(timeout=LONG)
    assert run.vram == VramLedger(
        weights=49_000_000_000,
        peak_activation=None,
        non_torch=None,
        cuda_graphs=None,
        kv_cache=65536 * 1024,
        kv_blocks=None,
        kv_tokens=65536,
        max_concurrency=None,
        device=DeviceMemory(total=2 * 2**37, used=111 * GIB, engine=102 * GIB, free=143 * GIB),
    )
    assert run.device_memory_used == 102 * GIB


@pytest.mark.parametrize("looks", [{}, {"GPU-1": [BUSY]}])
def test_without_a_look_at_every_device_nothing_is_known_of_their_memory(
    real: Lab, nvml: ScriptedNvml, looks: dict[str, list[GpuReading | None]]
) -> None:
    nvml.looks = looks
    run = real.measure(on(H200, SECOND), WORKLOAD, ONCE)
    assert run.vram is not None
    assert run.vram.device is None
    assert run.samples("device_memory_used") == []


def test_of_an_engine_whose_process_is_gone_nothing_is_known(
    real: Lab, nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(LONG)
    monkeypatch.setattr(RunningEngine, "pid", gone.pid)
    nvml.looks["GPU-1"] = [BUSY]
    run = real.measure(on(H200), WORKLOAD, ONCE)
    assert run.vram is not None
    assert run.vram.device == DeviceMemory(2**37, 101 * GIB, None, 0)
