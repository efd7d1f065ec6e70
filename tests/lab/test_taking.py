"""Measurements in turns with a reference: how they are planned, and what becomes of both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.engines.interpreter import Interpreter
from pytest_vllmperf.errors import ReferenceEngineError, SpecError
from pytest_vllmperf.lab import taking
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.sharing import SHARE, Sharing, Way
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.spec import EngineSpec
from tests.lab.test_pair import DIED, GPU, SETTINGS, WORKLOAD, Device, device, session, target

__all__ = ["device", "session"]

STABLE = "/stable/bin/python"


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variables with which interpreters are looked at; the stable one has an older vLLM than all others."""
    seen: list[str] = []

    def look(where: str, python: str, env: dict[str, str]) -> Interpreter:
        seen.append(",".join(env))
        version = "0.29.0" if python == STABLE else "0.30.0"
        return Interpreter(python, f"/site/{version}", version)

    monkeypatch.setattr(taking, "look", look)
    monkeypatch.setattr("pytest_vllmperf.engines.interpreter.look", look)
    return seen


def take(model: str = "a", **engine_args: object) -> Take:
    return Take(target(model, **engine_args), WORKLOAD, SETTINGS, ("throttling",))


def sized(session: Lab, monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    monkeypatch.setattr(session, "weight_bytes", lambda targets: {one.spec.model: size for one in targets})


def test_the_reference_is_the_same_engine_of_another_interpreter(session: Lab, looked: list[str]) -> None:
    alone = take(seed=7)
    alone = replace(alone, target=replace(alone.target, spec=replace(alone.target.spec, env=(("PYTHONPATH", "/x"),))))
    both = taking.in_turns(session, alone, STABLE)
    assert both.sharing is not None
    new, reference = both.sharing.targets
    assert (both.target, both.targets) == (new, (new, reference))
    assert reference == replace(new, spec=replace(new.spec, python=STABLE), reference=True)
    assert (both.workload, both.settings, both.allowed) == (alone.workload, alone.settings, alone.allowed)
    assert both.against == f"vLLM 0.29.0 of {STABLE}"
    assert set(looked) == {"PYTHONPATH"}


def test_it_shares_the_devices_as_any_two_engines_do(session: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for size in (2**30, 90 * 2**30):
        sized(session, monkeypatch, size)
        sharing = taking.in_turns(session, take(), STABLE).sharing
        assert sharing is not None
        found[size] = sharing.way
        args = {"gpu_memory_utilization": SHARE} if sharing.way is Way.RESIDENT else {"enable_sleep_mode": True}
        assert [one.spec.args for one in sharing.targets] == [args, args]
    assert list(found.values()) == [Way.RESIDENT, Way.SLEEP]


def test_the_engines_own_vllm_is_an_a_a_run(session: Lab) -> None:
    spec = EngineSpec.create("a")
    both = taking.in_turns(session, Take(Target(spec, (GPU,)), WORKLOAD, SETTINGS), spec.python)
    assert both.against == f"vLLM 0.30.0 of {spec.python} (the same vLLM: an A/A run)"
    assert len(set(both.targets)) == 2


def test_what_runs_on_no_vllm_is_refused(session: Lab) -> None:
    other = replace(take(), target=Target(EngineSpec.create("a", backend="transformers"), (GPU,)))
    with pytest.raises(SpecError, match=r"^--vllmperf-against: the transformers reference does not run vLLM .*'off'"):
        taking.in_turns(session, other, STABLE)


def in_turns(way: Way = Way.RESIDENT, allowed: tuple[str, ...] = ()) -> Take:
    """In turns with an engine that takes twice as long."""
    targets = (target("a", enable_sleep_mode=True), replace(target("b", enable_sleep_mode=True), reference=True))
    return Take(targets[0], WORKLOAD, SETTINGS, allowed, Sharing(way, targets, SHARE), "vLLM 0.29.0 of /stable")


@pytest.mark.parametrize("way", Way)
def test_a_measurement_carries_its_reference_and_how_it_was_made(session: Lab, device: Device, way: Way) -> None:
    made = in_turns(way)
    run = taking.measure(session, made)
    assert run.made_with == made
    assert run.tpot.p50 == pytest.approx(0.01)
    assert run.reference is not None
    assert [one.samples["tpot.p50"] for one in run.reference.engines] == [pytest.approx([0.02] * 2)]
    assert (run.reference.name, run.reference.way) == (
        "vLLM 0.29.0 of /stable",
        f"{way.value}, 0.45 of the memory each",
    )
    assert run.reference.environment.soft["model name"] == "b"
    assert run.environment.soft["model name"] == "a"
    again = run.with_engines_of(taking.measure(session, made, 2))
    assert again.reference is not None
    assert (len(again.engines), len(again.reference.engines)) == (2, 2)


def test_without_a_reference_it_is_measured_alone(session: Lab, device: Device) -> None:
    run = taking.measure(session, replace(in_turns(), sharing=None, against=""))
    assert run.reference is None
    assert "start b" not in device.seen()


HOT = GpuTrace("GPU-1", (GpuReading(0.01), GpuReading(0.07), GpuReading(0.12), GpuReading(0.25, clock_events=0x20)))


def test_what_voids_the_reference_voids_the_round(session: Lab, device: Device) -> None:
    device.nvml.traces["GPU-1"] = HOT
    words = "of the reference: the GPU slowed its clocks in iteration 2: software thermal slowdown"
    run = taking.measure(session, in_turns())
    assert (run.problems, run.transient) == ((Problem("throttling", words),), True)
    assert taking.measure(session, in_turns(allowed=("throttling",))).problems == ()


@pytest.mark.parametrize("doing", ["start", "run"])
def test_a_reference_that_cannot_says_why_and_what_else_could_be_compared(
    session: Lab, device: Device, doing: str
) -> None:
    device.failing = {f"{doing} b": DIED}
    with pytest.raises(ReferenceEngineError) as caught:
        taking.measure(session, in_turns())
    assert str(caught.value) == (
        "the reference, vLLM 0.29.0 of /stable, cannot run a enable_sleep_mode=True: the engine process was ended by "
        "SIGKILL. Compare with the stored baseline instead (--vllmperf-against=off), or use an engine that both "
        "can run, for example one without the refused argument"
    )


def test_the_new_engine_can_be_asked_while_its_reference_stays(session: Lab, device: Device) -> None:
    taking.measure(session, in_turns())
    device.seen()
    assert taking.ask(session, in_turns(), lambda engine: engine.spec.model) == "a"
    assert device.seen() == ""
    assert taking.ask(session, replace(in_turns(), sharing=None), lambda engine: engine.spec.model) == "a"
    assert device.seen() == "close b"
