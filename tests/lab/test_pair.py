"""Two engines that are measured in turns: what is done to them, in which order, in each way of sharing a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import (
    EngineDiedError,
    EngineStartError,
    EngineUnsupportedError,
    ReferenceEngineError,
    SpecError,
    WorkloadError,
)
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import observing, slots
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.sharing import SHARE, Sharing, Way, share
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.engine import Continuations, Progress, Sampling
from pytest_vllmperf.records.ledger import DeviceMemory
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.run import MeasureSettings, RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request, Workload
from tests.lab.conftest import ScriptedNvml, open_session

GPU = GpuDevice("GPU-1", "NVIDIA H200", 100 * 2**30, (9, 0), "565")
WORKLOAD = Workload.synthetic(requests=2, input_tokens=8, output_tokens=5)
# One iteration to warm up and two that count: A B, B A, A B.
SETTINGS = MeasureSettings(warmup=1, iterations=2)
FIRST_ROUND = {
    Way.RESIDENT: "start a, start b, run a, run b, run b, run a, run a, run b, look at a, look at b",
    Way.SLEEP: "start a, sleep a, start b, sleep b, wake a, run a, sleep a, wake b, run b, run b, sleep b, wake a, "
    "run a, run a, sleep a, wake b, run b, sleep b, wake a, look at a, sleep a, wake b, look at b",
    Way.RESTART: "start a, run a, run a, run a, look at a, close a, start b, run b, run b, run b, look at b",
}
DIED = EngineDiedError("the engine process was ended by SIGKILL")


class Device:
    """One GPU, in the launcher's place: notes what is done to its engines.

    Attributes:
        events: what was done so far.
        failing: what is raised instead, by event.
        specs: of the engines that were started.
        alive: engines that nobody has ended yet.
        nvml: what watches it.
    """

    nvml: ScriptedNvml

    def __init__(self) -> None:
        self.events: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.specs: list[EngineSpec] = []
        self.alive: list[NotedEngine] = []

    def note(self, event: str) -> None:
        self.events.append(event)
        if event in self.failing:
            raise self.failing.pop(event)

    def seen(self) -> str:
        """What was done since this was last asked."""
        told, self.events = ", ".join(self.events), []
        return told

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        self.note(f"start {spec.model}")
        self.specs.append(spec)
        self.alive.append(NotedEngine(self, spec.model))
        return self.alive[-1]

    def close(self) -> None:
        self.note("close launcher")


class NotedEngine(SimulatedEngine):
    """An engine that does nothing asleep, and nothing after its end; `b` takes twice as long as `a`."""

    def __init__(self, device: Device, model: str) -> None:
        spec = EngineSpec.create(model, backend="simulated", prefill_seconds_per_token=0)
        super().__init__(spec.with_args(step_seconds=0.02 if model == "b" else 0.01))
        self.device, self.awake = device, True

    def noted(self, doing: str, *, awake: bool = True) -> None:
        assert self in self.device.alive
        assert self.awake is awake
        self.device.note(f"{doing} {self.spec.model}")

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        assert self.device.nvml.watching
        self.noted("run")
        return super().run(requests, sampling)

    def generate(self, requests: Sequence[Request]) -> Continuations:
        self.noted("ask")
        return super().generate(requests)

    def memory(self) -> int:
        assert not self.device.nvml.watching
        self.noted("look at")
        return 2000 if self.spec.model == "b" else 1000

    def sleep(self) -> None:
        self.noted("sleep")
        self.awake = False

    def wake_up(self) -> None:
        self.noted("wake", awake=False)
        self.awake = True

    def close(self) -> None:
        self.end("close")

    def kill(self) -> None:
        self.end("kill")

    def end(self, how: str) -> None:
        self.device.alive.remove(self)
        self.device.note(f"{how} {self.spec.model}")


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def session(tmp_path: Path, device: Device, nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(gpu, "devices", lambda: (GPU,))
    monkeypatch.setattr(slots, "Launcher", lambda timeouts, backends: device)
    monkeypatch.setattr(
        observing, "device_memory", lambda engine, gpus: DeviceMemory(9000, 3000, engine.memory(), 6000)
    )
    device.nvml = nvml
    opened = open_session(tmp_path, lambda doing, waited: None)
    yield opened
    opened.close()


def target(model: str, **engine_args: Any) -> Target:
    return Target(EngineSpec.create(model, **engine_args), (GPU,))


def pair(session: Lab, way: Way) -> Pair:
    targets = (target("a", enable_sleep_mode=True), target("b", enable_sleep_mode=True))
    return Pair(session, Sharing(way, targets), WORKLOAD, SETTINGS)


def said(engine: Engine) -> Continuations:
    return engine.generate([Request(0, 3, prompt="one two")])


@pytest.mark.parametrize("way", Way)
def test_a_round(session: Lab, device: Device, way: Way) -> None:
    a, b = pair(session, way).measure_round()
    assert device.seen() == FIRST_ROUND[way]
    assert (a.tpot.p50, b.tpot.p50) == (pytest.approx(0.01), pytest.approx(0.02))
    assert [[len(values) for values in one.samples("tpot.p50")] for one in (a, b)] == [[2], [2]]
    assert [one.engines[0].once["device_memory_used"] for one in (a, b)] == [1000, 2000]


# On the engines' clocks: the warm-up of `a` takes 50 ms, its iterations last until 100 and 150 ms; those of `b` twice
# as long. It got hot while `b` worked alone.
HOT = GpuTrace("GPU-1", (GpuReading(0.01), GpuReading(0.07), GpuReading(0.12), GpuReading(0.25, clock_events=0x20)))


@pytest.mark.parametrize(("way", "watched"), [(Way.RESIDENT, 1), (Way.SLEEP, 1), (Way.RESTART, 2)])
def test_what_was_seen_belongs_to_the_engine_that_worked(session: Lab, device: Device, way: Way, watched: int) -> None:
    device.nvml.traces["GPU-1"] = HOT
    a, b = pair(session, way).measure_round()
    assert device.nvml.watched == [("GPU-1",)] * watched
    assert (a.problems, a.traces) == ((), (HOT,))
    words = "the GPU slowed its clocks in iteration 2: software thermal slowdown"
    assert b.problems == (Problem("throttling", words),)


def test_rules_that_are_turned_off_are_so_for_both(session: Lab, device: Device) -> None:
    device.nvml.traces["GPU-1"] = replace(HOT, lost="the GPU is gone")
    two = pair(session, Way.RESIDENT)
    assert [len(one.problems) for one in two.measure_round()] == [1, 2]
    for way in Way:
        calm = Pair(session, Sharing(way, two.sharing.targets), WORKLOAD, SETTINGS, ("throttling", "lost"))
        assert [one.problems for one in calm.measure_round()] == [(), ()]


@pytest.mark.parametrize(
    ("way", "events"),
    [
        (Way.RESIDENT, f"close a, close b, {FIRST_ROUND[Way.RESIDENT]}"),
        (Way.SLEEP, f"close a, close b, {FIRST_ROUND[Way.SLEEP]}"),  # what sleeps is not woken for its end
        (
            Way.RESTART,
            "close b, start b, run b, run b, run b, look at b, close b, start a, run a, run a, run a, look at a",
        ),
    ],
)
def test_the_next_round_is_on_fresh_engines_of_both(session: Lab, device: Device, way: Way, events: str) -> None:
    two = pair(session, way)
    two.measure_round()
    device.seen()
    a, b = two.measure_round()
    assert device.seen() == events
    assert (a.tpot.p50, b.tpot.p50) == (pytest.approx(0.01), pytest.approx(0.02))


@pytest.mark.parametrize(
    ("way", "events"),
    [
        (Way.RESIDENT, FIRST_ROUND[Way.RESIDENT].removeprefix("start a, start b, ")),
        (Way.RESTART, "run b, run b, run b, look at b, close b, start a, run a, run a, run a, look at a"),
    ],
)
def test_another_measurement_goes_on_with_the_engines_that_run(
    session: Lab, device: Device, way: Way, events: str
) -> None:
    """Of engines that are started in turns the one that runs is first, whatever the number of the round."""
    pair(session, way).measure(1)
    device.seen()
    a, b = pair(session, way).measure(1)
    assert device.seen() == events
    assert (a.tpot.p50, b.tpot.p50) == (pytest.approx(0.01), pytest.approx(0.02))


@pytest.mark.parametrize(("number", "first"), [(1, "start a"), (2, "start b"), (3, "start a")])
def test_the_order_of_starts_changes_with_the_number_of_the_round(
    session: Lab, device: Device, number: int, first: str
) -> None:
    pair(session, Way.RESTART).measure(number)
    assert device.seen().startswith(first)


def against(way: Way) -> Sharing:
    """The second engine is the first one's reference."""
    return Sharing(
        way, (target("a", enable_sleep_mode=True), replace(target("b", enable_sleep_mode=True), reference=True))
    )


@pytest.mark.parametrize(
    ("way", "doing"),
    [(way, doing) for way in Way for doing in ("start", "run", "look at")]
    + [(Way.SLEEP, "sleep"), (Way.SLEEP, "wake")],
)
@pytest.mark.parametrize("error", [DIED, EngineUnsupportedError("no such kernel"), SpecError("no such argument")])
def test_what_fails_of_a_reference_is_named_as_its_own(
    session: Lab, device: Device, way: Way, doing: str, error: Exception
) -> None:
    """A reference that cannot run an engine is never a reason to skip a test."""
    device.failing = {f"{doing} b": error}
    with pytest.raises(ReferenceEngineError, match=str(error)):
        Pair(session, against(way), WORKLOAD, SETTINGS).measure(1)
    device.failing = {f"{doing} a": error}
    with pytest.raises(type(error)) as caught:
        Pair(session, against(way), WORKLOAD, SETTINGS).measure_round()
    assert not isinstance(caught.value, ReferenceEngineError)


def test_an_engine_and_its_reference_are_two_though_nothing_sets_them_apart(session: Lab, device: Device) -> None:
    targets = (target("a"), replace(target("a"), reference=True))
    a, b = Pair(session, Sharing(Way.RESIDENT, targets), WORKLOAD, SETTINGS).measure(1)
    assert device.seen().startswith("start a, start a, ")
    assert len(a.engines) == len(b.engines) == 1


@pytest.mark.parametrize(
    ("way", "first", "then"),
    [
        (Way.RESIDENT, "start a, start b, ask b", "ask b, ask a"),
        (Way.SLEEP, "start a, sleep a, start b, ask b", "ask b, sleep b, wake a, ask a"),
        (Way.RESTART, "start b, ask b", "ask b, close b, start a, ask a"),
    ],
)
def test_each_can_be_asked_something_else(session: Lab, device: Device, way: Way, first: str, then: str) -> None:
    two = pair(session, way)
    assert two.ask(1, said).outputs == ((2, 3, 4),)
    assert device.seen() == first
    two.measure_round()
    device.seen()
    for side in (1, 0):
        two.ask(side, said)
    assert device.seen() == then


def test_residents_are_started_on_their_share_of_the_memory(session: Lab, device: Device) -> None:
    sizes = {"a": 2**30, "b": 2**30}
    two = Pair(session, share((target("a", seed=7), target("b")), sizes, None), WORKLOAD, SETTINGS)
    two.measure_round()
    assert [spec.args for spec in device.specs] == [
        {"gpu_memory_utilization": SHARE, "seed": 7},
        {"gpu_memory_utilization": SHARE},
    ]


@pytest.mark.parametrize(
    ("way", "failing", "ends"),
    [
        (Way.RESIDENT, "start b", "start a, start b, kill a"),
        (Way.RESIDENT, "run b", "start a, start b, run a, run b, kill a, kill b"),
        (Way.SLEEP, "start a", "start a"),
        (Way.SLEEP, "sleep a", "start a, sleep a, kill a"),
        (Way.SLEEP, "start b", "start a, sleep a, start b, kill a"),
        (Way.SLEEP, "wake a", "start a, sleep a, start b, sleep b, wake a, kill a, kill b"),
        (Way.SLEEP, "run a", "start a, sleep a, start b, sleep b, wake a, run a, kill a, kill b"),
        (Way.RESTART, "run a", "start a, run a, kill a"),
        (Way.RESTART, "start b", "start a, run a, run a, run a, look at a, close a, start b"),
        (Way.RESTART, "run b", "start a, run a, run a, run a, look at a, close a, start b, run b, kill b"),
    ],
)
def test_an_engine_that_dies_ends_both_and_the_next_round_is_as_the_first(
    session: Lab, device: Device, way: Way, failing: str, ends: str
) -> None:
    two = pair(session, way)
    device.failing[failing] = EngineStartError("no room") if failing.startswith("start") else DIED
    with pytest.raises((EngineStartError, EngineDiedError)):
        two.measure_round()
    assert device.seen() == ends
    assert device.alive == []
    pair(session, way).measure_round()  # of `two` the order has changed, where engines are started in turns
    assert device.seen() == FIRST_ROUND[way]


def test_an_engine_that_died_asleep_is_noticed_when_it_is_asked(session: Lab, device: Device) -> None:
    two = pair(session, Way.SLEEP)
    two.measure_round()
    device.seen()
    device.failing["wake a"] = DIED
    with pytest.raises(EngineDiedError):
        two.ask(0, said)
    assert device.seen() == "sleep b, wake a, kill a, kill b"
    two.ask(0, said)
    assert device.seen() == "start a, sleep a, start b, sleep b, wake a, ask a"


def test_one_of_two_that_sleep_in_turns_is_missing(session: Lab, device: Device) -> None:
    """Another measurement has made room for itself since: what is left makes room before the other is started."""
    two = pair(session, Way.SLEEP)
    two.measure_round()
    session.ask(two.sharing.targets[1], said)
    assert device.seen() == f"{FIRST_ROUND[Way.SLEEP]}, close a, ask b"
    two.ask(1, said)
    assert device.seen() == "close b, start a, sleep a, start b, ask b"


def test_an_engine_left_asleep_is_woken_for_a_measurement_of_its_own(session: Lab, device: Device) -> None:
    two = pair(session, Way.SLEEP)
    two.measure_round()
    device.seen()
    session.measure(two.sharing.targets[0], WORKLOAD, SETTINGS)
    assert device.seen() == "close b, wake a, run a, run a, run a, look at a"
    two.ask(1, said)
    assert device.seen() == "sleep a, start b, ask b"


def test_an_engine_that_was_started_alone_sleeps_before_the_other(session: Lab, device: Device) -> None:
    two = pair(session, Way.SLEEP)
    session.ask(two.sharing.targets[0], said)
    two.ask(0, said)
    assert device.seen() == "start a, ask a, sleep a, start b, sleep b, wake a, ask a"


@pytest.mark.parametrize("way", Way)
def test_a_workload_that_does_not_fit_leaves_the_engines_as_they_are(session: Lab, device: Device, way: Way) -> None:
    two = pair(session, way)
    two.workload = Workload.synthetic(requests=1, input_tokens=9000, output_tokens=5)
    with pytest.raises(WorkloadError, match="does not fit a"):
        two.measure_round()
    assert "run" not in device.seen()
    two.ask(0, said)
    assert device.seen() == {Way.SLEEP: "sleep b, wake a, ask a"}.get(way, "ask a")


@pytest.mark.parametrize("way", Way)
def test_nothing_is_left_in_the_end(session: Lab, device: Device, way: Way) -> None:
    pair(session, way).measure_round()
    device.seen()
    session.close()
    assert device.alive == []
    assert device.seen() == ("close b" if way is Way.RESTART else "close b, close a") + ", close launcher"
