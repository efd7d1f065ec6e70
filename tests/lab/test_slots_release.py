"""Whose a process on a device is, and what becomes of memory that an engine leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pytest_vllmperf.engines import simulated
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.errors import EngineError, EngineStartError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.engine import Progress
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.lab.conftest import OWN, RecordingLauncher, ScriptedNvml

GIB = 2**30
WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)
ONCE = MeasureSettings(warmup=1, iterations=2)
DESKTOP, STRANGER = 7, 99
SPEC = EngineSpec.create("one", step_seconds=1.0)
IDLE = GpuReading(0.0, GIB, {DESKTOP: GIB})


def seen(*pids: int) -> GpuTrace:
    return GpuTrace("GPU-1", tuple(GpuReading(float(at), 9 * GIB, dict.fromkeys(pids, GIB)) for at in range(16)))


@pytest.mark.parametrize(
    ("pids", "strangers"), [((DESKTOP, OWN), []), ((DESKTOP, OWN, STRANGER), [STRANGER]), ((STRANGER,), [STRANGER])]
)
def test_who_came_since_the_run_began_is_a_stranger_in_every_measurement(
    real: Lab, nvml: ScriptedNvml, pids: tuple[int, ...], strangers: list[int]
) -> None:
    """Also where it was there before this measurement: a retry must not find it in order."""
    nvml.looks["GPU-1"] = [IDLE]
    nvml.traces["GPU-1"] = seen(*pids)
    for _ in range(2):
        run = real.measure(real.target(SPEC, None), WORKLOAD, ONCE)
        assert [problem.words.split()[1] for problem in run.problems] == [str(pid) for pid in strangers]
        real.retire([real.target(SPEC, None)])


def used(**shares: float) -> GpuTrace:
    """The engine and a desktop that was there before, with what each used of the GPU's time."""
    pids = {"engine": OWN, "desktop": DESKTOP}
    by_process = {pids[name]: share for name, share in shares.items()}
    return replace(
        seen(*pids.values()),
        readings=tuple(replace(one, use_by_process=by_process) for one in seen(*pids.values()).readings),
    )


@pytest.mark.parametrize(("share", "void"), [(0.0, False), (0.04, False), (0.4, True)])
def test_who_computed_since_before_the_run_voids_each_measurement(
    real: Lab, nvml: ScriptedNvml, share: float, void: bool
) -> None:
    nvml.looks["GPU-1"] = [replace(IDLE, utilization=0.0)]
    nvml.traces["GPU-1"] = used(engine=0.9 - share, desktop=share)
    for _ in range(2):
        run = real.measure(real.target(SPEC, None), WORKLOAD, ONCE)
        assert [str(problem).split()[:2] for problem in run.problems] == ([["process", str(DESKTOP)]] if void else [])
        assert run.transient is void
        assert real.measure(real.target(SPEC, None), WORKLOAD, ONCE, ("processes",)).problems == ()
        real.retire([real.target(SPEC, None)])


def test_a_busy_gpu_whose_processes_are_hidden_voids_until_it_is_idle(real: Lab, nvml: ScriptedNvml) -> None:
    nvml.traces["GPU-1"] = seen(OWN)
    for utilization, rules in ((0.67, ["[processes]"]), (0.0, [])):
        nvml.looks["GPU-1"] = [replace(IDLE, processes=None, utilization=utilization)]
        run = real.measure(real.target(SPEC, None), WORKLOAD, ONCE)
        assert [str(problem).split()[-1] for problem in run.problems] == rules
        real.retire([real.target(SPEC, None)])


def test_where_nobody_knows_who_was_there_the_first_reading_decides(real: Lab, nvml: ScriptedNvml) -> None:
    nvml.looks["GPU-1"] = [replace(IDLE, processes=None)]
    nvml.traces["GPU-1"] = seen(STRANGER)
    assert real.measure(real.target(SPEC, None), WORKLOAD, ONCE).problems == ()


@pytest.mark.parametrize("left", [{DESKTOP: GIB, 4242: 58 * GIB}, {DESKTOP: GIB}])
def test_what_an_engine_leaves_that_did_not_start_has_to_come_back(
    real: Lab, nvml: ScriptedNvml, left: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: RecordingLauncher, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        nvml.looks["GPU-1"] = [GpuReading(0.0, 59 * GIB, left)]
        raise EngineStartError("out of memory")

    nvml.looks["GPU-1"] = [IDLE]
    target = real.target(SPEC, None)
    with monkeypatch.context() as patched:
        patched.setattr(RecordingLauncher, "start", refuse)
        with pytest.raises(EngineStartError, match="out of memory"):
            real.measure(target, WORKLOAD, ONCE)
    with pytest.raises(EngineError, match="59,392 MiB of GPU GPU-1 are still allocated"):
        real.measure(target, WORKLOAD, ONCE)
    nvml.looks["GPU-1"] = [IDLE]
    assert real.measure(target, WORKLOAD, ONCE).problems == ()


def test_an_engine_that_runs_on_the_cpu_of_a_gpu_host_uses_none_of_its_gpus(
    real: Lab, nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simulated._facts
    monkeypatch.setattr(simulated, "_facts", lambda script: replace(whole(script), device="cpu"))
    nvml.looks["GPU-1"] = [IDLE]
    nvml.traces["GPU-1"] = replace(seen(OWN), lost="gone")
    run = real.measure(real.target(SPEC, GpuRequirement()), WORKLOAD, ONCE)
    assert (run.gpus, run.traces, run.problems) == (0, (), ())
    assert run.samples("gpu_power") == run.samples("joules_per_token") == []
