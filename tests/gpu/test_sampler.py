"""The thread that reads devices: on readers of the test's own, and on NVML's stand-in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pynvml
import pytest

from pytest_vllmperf.errors import GpuLostError, NoDriverError, NoGpuError
from pytest_vllmperf.gpu import Sampler
from pytest_vllmperf.gpu.sampler import RATE_HZ, Open, Reader
from pytest_vllmperf.records.devices import GpuReading
from tests.gpu.fake_nvml import FakeGpu, FakeNvml

QUICK = 2000.0
"""Readings a second, so that no test waits for one."""

LONG = 60.0
"""Seconds that nothing here takes."""

THREAD = "vllmperf-nvml"


class Tape:
    """A reader of made-up readings; tells when it has made some, and can lose its device.

    Args:
        lost_after: readings until the device is gone; None when it never goes.
        enough: readings after which `reached` is set.
        wait: is waited for before the last reading that counts.
    """

    def __init__(self, lost_after: int | None = None, enough: int = 3, wait: threading.Event | None = None) -> None:
        self.lost_after = lost_after
        self.enough = enough
        self.wait = wait
        self.read_times = 0
        self.reached = threading.Event()
        self.gone = threading.Event()
        self.closed = threading.Event()

    def read(self) -> GpuReading:
        if self.read_times == self.lost_after:
            self.gone.set()
            raise GpuLostError("the GPU is gone: GPU is lost")
        self.read_times += 1
        if self.read_times == self.enough:
            assert self.wait is None or self.wait.wait(LONG)
            self.reached.set()
        return GpuReading(at=float(self.read_times))


def opening(**tapes: Tape | NoGpuError) -> Open:
    """Opens what is given for each device."""

    def open_device(stack: ExitStack, uuid: str) -> Reader:
        tape = tapes[uuid]
        if isinstance(tape, NoGpuError):
            raise tape
        stack.callback(tape.closed.set)
        return tape

    return open_device


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Whatever happens, no thread outlasts its sampler."""
    assert threads() == []
    yield
    assert threads() == []


def test_a_device_is_read_until_the_sampler_is_left() -> None:
    tape = Tape(enough=20)
    with Sampler(["a"], QUICK, opening(a=tape)) as sampler:
        assert tape.reached.wait(LONG)
        assert not tape.closed.is_set()
        assert len(sampler.traces()[0].readings) >= 19
    (trace,) = sampler.traces()
    assert [one.at for one in trace.readings] == [float(number) for number in range(1, tape.read_times + 1)]
    assert (trace.uuid, trace.lost) == ("a", None)
    assert tape.closed.is_set()


def test_reading_never_stands_in_the_way_of_the_work() -> None:
    work = threading.Event()
    tape = Tape(enough=1, wait=work)
    with Sampler(["a"], QUICK, opening(a=tape)) as sampler:  # entered while the first reading is not through
        assert sampler.traces()[0].readings == ()
        (thread,) = threads()
        assert thread.daemon  # nor of the end of the process
        work.set()
        assert tape.reached.wait(LONG)


def test_leaving_does_not_wait_for_the_next_reading() -> None:
    tape = Tape(enough=1)

    def work() -> None:
        with Sampler(["a"], 1 / (10 * LONG), opening(a=tape)):
            assert tape.reached.wait(LONG)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()
    assert tape.read_times == 1


def test_several_devices_in_their_order() -> None:
    tapes = {uuid: Tape() for uuid in ("b", "a", "c")}
    with Sampler(["b", "a", "c"], QUICK, opening(**tapes)) as sampler:
        assert all(tape.reached.wait(LONG) for tape in tapes.values())
    assert [trace.uuid for trace in sampler.traces()] == ["b", "a", "c"]
    assert [len(trace.readings) for trace in sampler.traces()] == [tape.read_times for tape in tapes.values()]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_device_that_is_lost_ends_its_own_trace(order: str) -> None:
    lost = Tape(lost_after=2)
    other = Tape(enough=10, wait=lost.gone)
    with Sampler(list(order), QUICK, opening(a=lost, b=other)) as sampler:
        assert other.reached.wait(LONG)
    traces = {trace.uuid: trace for trace in sampler.traces()}
    assert [one.at for one in traces["a"].readings] == [1.0, 2.0]
    assert traces["a"].lost == "the GPU is gone: GPU is lost"
    assert len(traces["b"].readings) == other.read_times >= 10
    assert traces["b"].lost is None


def test_the_thread_ends_with_the_last_device() -> None:
    tape, other = Tape(lost_after=1), Tape(lost_after=4)
    with Sampler(["a", "b"], QUICK, opening(a=tape, b=other)) as sampler:
        assert other.closed.wait(LONG)  # while the work goes on
    assert [(len(trace.readings), trace.lost is None) for trace in sampler.traces()] == [(1, False), (4, False)]


def test_a_device_that_cannot_be_opened_is_told_beside_another() -> None:
    tape = Tape()
    with Sampler(["a", "b"], QUICK, opening(a=NoGpuError("NVML does not find GPU a"), b=tape)) as sampler:
        assert tape.reached.wait(LONG)
    one, other = sampler.traces()
    assert (one.readings, one.lost) == ((), "NVML does not find GPU a")
    assert (len(other.readings), other.lost) == (tape.read_times, None)


def test_without_a_driver_the_work_goes_on() -> None:
    missing = NoDriverError("NVML does not answer: Driver Not Loaded")
    with Sampler(["a", "b"], QUICK, opening(a=missing, b=missing)) as sampler:
        pass
    assert [(trace.readings, trace.lost) for trace in sampler.traces()] == [((), str(missing))] * 2


def test_without_devices_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Reader:
        raise AssertionError

    monkeypatch.setattr(threading.Thread, "start", never)
    with Sampler([], QUICK, never) as sampler:
        pass
    assert sampler.traces() == ()


def test_a_failure_of_the_work_ends_the_reading() -> None:
    tape = Tape()
    with suppress(ZeroDivisionError), Sampler(["a"], QUICK, opening(a=tape)) as sampler:
        assert tape.reached.wait(LONG)
        raise ZeroDivisionError
    assert tape.closed.is_set()
    assert len(sampler.traces()[0].readings) == tape.read_times


class Timetable:
    """A clock, the time that readings take on it, and the event that the sampler waits for between them."""

    def __init__(self, costs: list[float]) -> None:
        self.now = 1000.0
        self.costs = iter(costs)
        self.left = len(costs)
        self.done = threading.Event()

    def read(self) -> GpuReading:
        reading = GpuReading(at=self.now)
        self.now += next(self.costs)
        return reading

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.left -= 1
        if self.left == 0:
            self.done.set()
        return self.left == 0

    def set(self) -> None:
        assert self.done.wait(LONG)


@pytest.mark.parametrize(
    ("costs", "moments"),
    [
        ([0.001, 0.001, 0.001], [0, 1, 2]),
        ([0.002, 0.004, 0.001, 0.0049], [0, 1, 2, 3]),  # what a reading takes moves none of the next
        ([0.001, 0.07, 0.001, 0.001], [0, 1, 3, 4]),  # nothing is made up for after a pause
    ],
)
@pytest.mark.parametrize("rate", [RATE_HZ, 1.0])
def test_readings_are_even(
    monkeypatch: pytest.MonkeyPatch, costs: list[float], moments: list[int], rate: float
) -> None:
    times = Timetable([cost * RATE_HZ / rate for cost in costs])
    named = {} if rate == RATE_HZ else {"rate": rate}
    sampler = Sampler(["a"], open_device=lambda stack, uuid: times, clock=lambda: times.now, **named)
    monkeypatch.setattr(sampler, "_stop", times)
    with sampler:
        assert times.done.wait(LONG)
    assert [one.at for one in sampler.traces()[0].readings] == pytest.approx([1000 + m / rate for m in moments])


def until(true: Callable[[], bool]) -> None:
    """Wait for what the thread does not tell by an event."""
    pause = threading.Event()
    assert any(true() or pause.wait(0.001) for _ in range(60_000))


def test_nvml_is_read_until_a_gpu_is_lost_and_after(nvml: FakeNvml) -> None:
    staying, leaving = FakeGpu(computing={4: 7}), FakeGpu(uuid="GPU-2")
    nvml.gpus = [staying, leaving]
    with Sampler([staying.uuid, leaving.uuid], QUICK) as sampler:
        until(lambda: all(trace.readings for trace in sampler.traces()))
        leaving.lost = True
        until(lambda: sampler.traces()[1].lost is not None)
        before = len(sampler.traces()[0].readings)
        until(lambda: len(sampler.traces()[0].readings) >= before + 3)
    one, other = sampler.traces()
    assert one.lost is None
    assert {(reading.power, *(reading.processes or {}).items()) for reading in one.readings} == {(76.543, (4, 7))}
    assert other.readings[0].power == 76.543
    assert other.lost == "the GPU is gone: GPU is lost"
    assert nvml.opened == 0


def test_nvml_without_a_driver(nvml: FakeNvml) -> None:
    nvml.fail("nvmlInitWithFlags", pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with Sampler(["GPU-00000001-aaaa"], QUICK) as sampler:
        pass
    assert sampler.traces()[0].lost == "NVML does not answer: Driver Not Loaded"
