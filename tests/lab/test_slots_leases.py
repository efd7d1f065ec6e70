"""Measuring on GPUs: who has them, and whether their memory came back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineDiedError, EngineError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.leases import Leases
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.devices import GpuReading
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.lab.conftest import H200, OWN, SECOND, RecordingLauncher, ScriptedNvml, Told, is_free

GIB = 2**30
WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5, concurrency=2)
ONCE = MeasureSettings(warmup=1, iterations=2)
SPEC = EngineSpec.create("m")
OTHER = EngineSpec.create("m", seed=1)


@pytest.fixture
def other_run(real: Lab) -> Iterator[Leases]:
    leases = Leases()
    yield leases
    leases.release()


def test_an_engine_sees_the_devices_that_were_chosen_for_it(real: Lab, told: Told) -> None:
    real.measure(real.target(EngineSpec.create("org/m"), GpuRequirement.create(count=2)), WORKLOAD, ONCE)
    assert RecordingLauncher.started == [("org/m", {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-3"})]
    assert RecordingLauncher.timeouts == Timeouts(start=30.0, operation=20.0)
    assert told[0] == "m: importing vLLM"


def test_devices_are_leased_while_the_session_measures(real: Lab) -> None:
    real.measure(real.target(EngineSpec.create("m"), GpuRequirement.create("A6000")), WORKLOAD, ONCE)
    assert [is_free(device) for device in ("GPU-1", "GPU-2", "cpu")] == [True, False, True]
    real.release()
    assert is_free("GPU-2")
    real.measure(real.target(EngineSpec.create("m"), GpuRequirement.create("A6000")), WORKLOAD, ONCE)
    assert len(RecordingLauncher.started) == 2
    assert not is_free("GPU-2")


def test_a_target_of_before_is_leased_again_for_its_engine(real: Lab) -> None:
    target = real.target(SPEC, None)
    real.release()
    real.measure(target, WORKLOAD, ONCE)
    assert not is_free("GPU-1")


def test_what_is_free_is_taken_and_what_is_held_stays(real: Lab, other_run: Leases, told: Told) -> None:
    other_run.choose(["GPU-1"], 1, told)
    assert [real.target(SPEC, None).gpus for _ in range(2)] == [(SECOND,), (SECOND,)]
    assert told == []


def test_who_finds_no_gpu_of_that_name_free_waits_for_one(real: Lab, other_run: Leases, told: Told) -> None:
    other_run.choose(["GPU-1", "GPU-3"], 2, told)
    told.at = {"waiting": lambda: other_run.release(["GPU-3"] if "GPU-3" in other_run.held else [])}
    assert real.target(SPEC, None).gpus == (SECOND,)
    assert set(told) == {"waiting for 1 of 2 GPUs, which other runs are measuring on"}


def test_engines_make_room_before_their_device_is_given_back(
    real: Lab, other_run: Leases, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(SimulatedEngine, "close", lambda self: closed.append(is_free("GPU-1")))
    real.measure(real.target(SPEC, None), WORKLOAD, ONCE)
    other_run.choose(["GPU-3"], 1, told)
    free: list[bool] = []

    def waiting() -> None:
        free.append(is_free("GPU-1"))
        other_run.release()

    told.at = {"waiting": waiting}
    assert real.target(SPEC, GpuRequirement.create("H200", count=2)).gpus == (H200, SECOND)
    assert (closed, free[0]) == ([False], True)


def test_an_engine_that_does_not_stop_keeps_its_device(
    real: Lab, other_run: Leases, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: SimulatedEngine) -> None:
        raise EngineDiedError("cannot be stopped")

    real.measure(real.target(SPEC, None), WORKLOAD, ONCE)
    other_run.choose(["GPU-3"], 1, told)
    with monkeypatch.context() as patched:
        patched.setattr(SimulatedEngine, "close", failing)
        with pytest.raises(EngineDiedError):
            real.target(SPEC, GpuRequirement.create("H200", count=2))
    assert told[-1].startswith("m: iteration")
    assert not is_free("GPU-1")


def test_a_second_engine_whose_device_is_waited_for_runs_beside_a_fresh_first_one(
    real: Lab, other_run: Leases, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait gives all devices back, so it ends the first engine."""
    closed: list[str] = []
    monkeypatch.setattr(SimulatedEngine, "close", lambda self: closed.append(self.spec.model))
    first, second = Target(EngineSpec.create("a"), (H200,)), Target(EngineSpec.create("b"), (SECOND,))
    real.measure(first, WORKLOAD, ONCE)
    other_run.choose(["GPU-3"], 1, told)
    told.at = {"waiting": other_run.release}
    with real.engines([first, second]) as engines:
        assert [engine.spec.model for engine in engines] == ["a", "b"]
        assert [is_free(device) for device in ("GPU-1", "GPU-3")] == [False, False]
    assert [model for model, _ in RecordingLauncher.started] == ["a", "a", "b"]
    assert closed == ["a"]
    assert len(real.slots.running) == 2


def test_without_a_gpu_the_processor_is_leased(real: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "devices", lambda: ())
    run = real.measure(real.target(EngineSpec.create("m"), None), WORKLOAD, ONCE)
    assert RecordingLauncher.started == [("m", {})]
    assert not is_free("cpu")
    assert (run.gpus, run.traces, run.vram and run.vram.device) == (0, (), None)


def test_a_simulated_engine_leases_nothing(session: Lab) -> None:
    session.measure(Target(EngineSpec.create("m", backend="simulated")), WORKLOAD, ONCE)
    assert all(is_free(device) for device in ("GPU-1", "GPU-2", "cpu"))


def test_close_gives_everything_back_even_when_an_engine_does_not_stop(
    real: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.measure(real.target(EngineSpec.create("m"), None), WORKLOAD, ONCE)

    def failing(self: SimulatedEngine) -> None:
        raise EngineDiedError("cannot be stopped")

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedEngine, "close", failing)
        with pytest.raises(EngineDiedError):
            real.close()
    assert RecordingLauncher.closed
    assert is_free("GPU-1")


IDLE = GpuReading(0.0, GIB, {})
BUSY = GpuReading(0.0, 101 * GIB, {OWN: 100 * GIB})
STUCK = rf"102,400 MiB of GPU GPU-1 are still allocated .*process {OWN} holds 102,400 MiB"


def test_nothing_is_started_into_memory_that_did_not_come_back(real: Lab, nvml: ScriptedNvml) -> None:
    nvml.looks["GPU-1"] = [IDLE]
    first, second = real.target(SPEC, None), real.target(OTHER, None)
    real.measure(first, WORKLOAD, ONCE)
    nvml.looks["GPU-1"] = [BUSY]
    with pytest.raises(EngineError, match=STUCK):
        real.measure(second, WORKLOAD, ONCE)
    assert len(RecordingLauncher.started) == 1
    nvml.looks["GPU-1"] = [IDLE]
    real.measure(second, WORKLOAD, ONCE)
    assert len(RecordingLauncher.started) == 2


def test_a_second_engine_is_started_beside_the_first(real: Lab, nvml: ScriptedNvml) -> None:
    nvml.looks["GPU-1"] = [IDLE, IDLE, BUSY]  # when it is taken, before the first starts, and from then on
    targets = (real.target(SPEC, None), real.target(OTHER, None))
    Pair(real, Sharing(Way.RESIDENT, targets), WORKLOAD, ONCE).measure_round()
    assert len(RecordingLauncher.started) == 2


def test_an_engine_elsewhere_is_no_reason_not_to_wait(real: Lab, nvml: ScriptedNvml) -> None:
    nvml.looks = {"GPU-1": [IDLE, BUSY], "GPU-3": [IDLE]}
    first = replace(real.target(SPEC, GpuRequirement.create("H200", count=2)), gpus=(SECOND,))
    with (
        pytest.raises(EngineError, match="of GPU GPU-1 are still allocated"),
        real.engines([first, Target(OTHER, (H200,))]),
    ):
        pass
    assert len(RecordingLauncher.started) == 1


def test_devices_are_kept_until_their_memory_comes_back(real: Lab, nvml: ScriptedNvml) -> None:
    """No other run may start an engine into that."""
    nvml.looks["GPU-1"] = [IDLE]
    real.measure(real.target(SPEC, None), WORKLOAD, ONCE)
    nvml.looks["GPU-1"] = [BUSY]
    with pytest.raises(EngineError, match=STUCK):
        real.release()
    assert not is_free("GPU-1")
    assert real.slots.running == ()
    nvml.looks["GPU-1"] = [IDLE]
    real.release()
    assert is_free("GPU-1")


def test_what_was_measured_on_a_device_that_was_lost_meanwhile_does_not_count(
    real: Lab, told: Told, tmp_path: Path
) -> None:
    def lose() -> None:
        (tmp_path / "vllmperf-device-GPU-2.lock").unlink(missing_ok=True)

    target = real.target(EngineSpec.create("m"), GpuRequirement.create("A6000"))
    told.at = {"m: iteration": lose}
    with pytest.raises(EngineError, match=r"GPU-2\.lock was removed or replaced while this run held GPU-2"):
        real.measure(target, WORKLOAD, ONCE)
    assert real.slots.running == ()
    told.at = {}
    real.measure(target, WORKLOAD, ONCE)
    assert len(RecordingLauncher.started) == 2
