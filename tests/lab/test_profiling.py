"""The device pass of a measurement: after the measured iterations, and never at their cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines import simulated
from pytest_vllmperf.engines.endpoint import EndpointEngine
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineError, NotMeasuredError, ProfileError
from pytest_vllmperf.lab import profiling
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.kernels import Collective, RankUse
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.lab.conftest import ScriptedNvml, Told

WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5, concurrency=2)
SETTINGS = MeasureSettings(warmup=1, iterations=2, device_pass=3)
KERNELS = {"attention": (8, 0.002), "matmul": (16, 0.006)}


def on_gpu(**script: Any) -> Target:
    return Target(EngineSpec.create("m", backend="simulated", **{"gpu_kernels": KERNELS, **script}))


def both(session: Lab, target: Target, settings: MeasureSettings = SETTINGS) -> tuple[Measurement, Measurement]:
    """A measurement before its device pass and after it."""
    run = session.measure(target, WORKLOAD, settings)
    return run, session.profile(target, WORKLOAD, settings, run)


@pytest.fixture
def traced(session: Lab, tmp_path: Path, told: Told) -> Iterator[Lab]:
    opened = Lab(Settings(Update.NONE, tmp_path / "baselines", DEFAULTS, 30.0, 20.0, trace=tmp_path / "kept"), told)
    yield opened
    opened.close()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[SimulatedEngine]:
    """Every engine that is started."""
    started: list[SimulatedEngine] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        started.append(SimulatedEngine(spec, number))
        return started[-1]

    monkeypatch.setattr(simulated, "SimulatedEngine", start)
    return started


def test_the_pass_follows_the_counted_iterations_and_leaves_them_as_they_are(session: Lab, told: Told) -> None:
    run, found = both(session, on_gpu(gpu_noise=0.01))
    (before,), (after,) = run.engines, found.engines
    assert (after.samples, after.warmup) == (before.samples, before.warmup)
    assert len(after.passes["gpu_time"]) == 3
    assert len(set(after.passes["gpu_time"])) == 3
    assert after.no_device_pass == ""
    assert [kernel.name for kernel in after.kernels[0].kernels] == ["matmul", "attention"]
    assert found.gpu_time == pytest.approx(0.008, rel=0.05)
    assert told[-3:] == ["m: device pass 1/3", "m: device pass 2/3", "m: device pass 3/3"]


def test_an_engine_that_was_profiled_is_never_timed_again(session: Lab, engines: list[SimulatedEngine]) -> None:
    both(session, on_gpu())
    session.measure(on_gpu(), WORKLOAD, SETTINGS)
    assert len(engines) == 2


@pytest.mark.parametrize("script", [{"gpu_kernels": {}}, {"fail": "unprofiled"}])
def test_one_that_refused_is_as_fast_as_before_and_is_timed_again(
    session: Lab, engines: list[SimulatedEngine], script: dict[str, Any]
) -> None:
    both(session, on_gpu(**script))
    session.measure(on_gpu(**script), WORKLOAD, SETTINGS)
    assert len(engines) == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"gpu_kernels": {}}, "the simulated engine has no GPU"),
        ({"fail": "unprofiled"}, "scripted refusal"),
        (
            {"fail": "profile"},
            "the engine failed in the device pass: m: the engine process was ended by SIGKILL during run",
        ),
    ],
)
def test_why_there_is_none_is_told_and_nothing_else_changes(session: Lab, script: dict[str, Any], reason: str) -> None:
    run, found = both(session, on_gpu(**script))
    (before,), (after,) = run.engines, found.engines
    assert after == before.model_copy(update={"no_device_pass": reason})
    assert found.problems == run.problems == ()


def test_one_that_is_turned_off_is_told_as_that(session: Lab, engines: list[SimulatedEngine]) -> None:
    off = replace(SETTINGS, device_pass=0)
    run, found = both(session, on_gpu(), off)
    assert found.engines[0] == run.engines[0].model_copy(update={"no_device_pass": "the device pass is off"})
    with pytest.raises(NotMeasuredError, match=r"kernels were not measured on .*: the device pass is off"):
        _ = found.kernels
    session.measure(on_gpu(), WORKLOAD, off)
    assert len(engines) == 1


def test_an_engine_that_died_in_the_pass_is_replaced(session: Lab, engines: list[SimulatedEngine]) -> None:
    target = on_gpu(fail="profile")
    both(session, target)
    assert session.slots.running_engine(target) is None
    assert session.measure(target, WORKLOAD, SETTINGS).problems == ()
    assert len(engines) == 2


def test_an_engine_that_ended_before_is_told(session: Lab) -> None:
    run = session.measure(on_gpu(), WORKLOAD, SETTINGS)
    session.retire([on_gpu()])
    found = session.profile(on_gpu(), WORKLOAD, SETTINGS, run)
    assert found.engines[0].no_device_pass == "the engine had exited before the device pass"


def test_a_recording_that_is_not_whole_costs_the_pass_alone(session: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_: SimulatedEngine) -> tuple[RankUse, ...]:
        raise ProfileError("its buffers were full")

    monkeypatch.setattr(SimulatedEngine, "profile_stop", cut)
    run, found = both(session, on_gpu())
    assert found.engines[0] == run.engines[0].model_copy(update={"no_device_pass": "its buffers were full"})
    assert session.slots.running_engine(on_gpu()) is not None


def test_waiting_for_other_ranks_is_taken_out(session: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = SimulatedEngine.profile_stop

    def two_ranks(engine: SimulatedEngine) -> tuple[RankUse, ...]:
        (one,) = recorded(engine)
        waits = replace(one, total=one.total + 0.5, collectives=(Collective("matmul", "decode", (0.501,)),))
        return replace(one, collectives=(Collective("matmul", "decode", (0.001,)),)), waits

    monkeypatch.setattr(SimulatedEngine, "profile_stop", two_ranks)
    _, found = both(session, on_gpu())
    passes = found.engines[0].passes
    assert passes["gpu_time.waiting"] == [0.5] * 3
    assert passes["gpu_time.collective"] == [0.001] * 3
    assert max(passes["gpu_time"]) < 0.1


def test_a_server_that_runs_already_cannot_be_profiled() -> None:
    target = Target(EngineSpec.create("m", backend="endpoint", url="http://127.0.0.1:1/v1"))
    engine: Any = EndpointEngine.__new__(EndpointEngine)
    reason = profiling._cannot_be_profiled(engine, target)
    assert reason == "a server that runs already cannot be profiled by this plugin"


def test_secrets_are_taken_out_of_what_an_engine_says_in_the_pass(
    session: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EngineSpec.create("m", backend="simulated", gpu_kernels=KERNELS, env={"MY_API_KEY": "sesame-sesame-1"})

    def failing(*_: object) -> None:
        raise EngineError("no entry with sesame-sesame-1")

    monkeypatch.setattr(SimulatedEngine, "profile_start", failing)
    _, found = both(session, Target(spec))
    assert "no entry with" in found.engines[0].no_device_pass
    assert "sesame" not in found.engines[0].no_device_pass


def test_a_trace_is_kept_of_the_last_iteration(
    traced: Lab, engines: list[SimulatedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path | None] = []
    start = SimulatedEngine.profile_start

    def noted(one: SimulatedEngine, trace: Path | None = None) -> None:
        given.append(trace)
        start(one, trace)

    monkeypatch.setattr(SimulatedEngine, "profile_start", noted)
    _, found = both(traced, on_gpu())
    (trace,) = found.kernel_traces
    assert trace.file is not None
    assert given == [None, None, trace.file]
    assert trace.file.exists()
    traced.close()
    assert not trace.file.exists()  # with the run


@pytest.mark.parametrize(("limit", "reason"), [(10, "it had 0 MB, more than 0 MB"), (10**9, "")])
def test_a_trace_has_a_limit(traced: Lab, monkeypatch: pytest.MonkeyPatch, limit: int, reason: str) -> None:
    monkeypatch.setattr(profiling, "TRACE_LIMIT", limit)
    (trace,) = both(traced, on_gpu())[1].kernel_traces
    assert (trace.file is None, trace.reason) == (bool(reason), reason)


def test_an_engine_that_could_not_write_its_trace_says_so(traced: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "write_trace", lambda *_: None)
    (trace,) = both(traced, on_gpu())[1].kernel_traces
    assert (trace.file, trace.reason) == (None, "the engine could not write it")


@pytest.mark.parametrize(
    ("script", "passes", "reason"),
    [({"fail": "unprofiled"}, 3, "scripted refusal"), ({}, 0, "the device pass is off")],
)
def test_without_a_pass_there_is_no_trace(traced: Lab, script: dict[str, Any], passes: int, reason: str) -> None:
    found = both(traced, on_gpu(**script), replace(SETTINGS, device_pass=passes))[1]
    assert [(one.file, one.reason) for one in found.kernel_traces] == [(None, reason)]


def test_nobody_asked_for_traces(session: Lab) -> None:
    assert both(session, on_gpu())[1].kernel_traces == ()


def test_nvml_is_read_during_the_pass(session: Lab, nvml: ScriptedNvml) -> None:
    before = len(nvml.watched)
    run = session.measure(on_gpu(), WORKLOAD, SETTINGS)
    assert len(nvml.watched) == before + 1
    session.profile(on_gpu(), WORKLOAD, SETTINGS, run)
    assert len(nvml.watched) == before + 2
