"""Whether a stopped engine's memory came back, by readings and a clock that a test scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.lab.release import TOLERANCE, ReleaseProof, unreturned
from pytest_vllmperf.records.devices import GpuReading, Occupants

relaxed = settings(max_examples=100)

MIB, GIB = 2**20, 2**30
OWN, CHILD, DESKTOP, STRANGER = 42, 43, 7, 99
Held = Mapping[int, int | None]


def reading(used: int | None, held: Held | None = None) -> GpuReading:
    return GpuReading(0.0, used_bytes=used, processes=held)


IDLE = reading(GIB, {DESKTOP: GIB})
"""A desktop's memory, before any engine."""
WORKING = reading(81 * GIB, {DESKTOP: GIB, OWN: 8 * GIB, CHILD: 72 * GIB})
STUCK = reading(9 * GIB, {DESKTOP: GIB, OWN: 8 * GIB})


class Bench:
    """Devices that read as they are told to, each reading for a second of waiting."""

    def __init__(self, **later: Sequence[GpuReading | None]) -> None:
        self.now = 50.0
        self.later = {uuid: list(readings) for uuid, readings in later.items()}
        self.told: list[tuple[str, float]] = []
        self.proof = ReleaseProof(self.read, timeout=5.0, clock=lambda: self.now, sleep=self.sleep)

    def read(self, uuid: str) -> GpuReading | None:
        readings = self.later[uuid]
        return readings.pop(0) if len(readings) > 1 else readings[0]  # the last one stays

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.now += 1.0

    def wait(self, *uuids: str) -> float:
        """How long it waited."""
        began = self.now
        self.proof.wait(uuids or tuple(self.later), lambda doing, waited: self.told.append((doing, waited)))
        return self.now - began


def bench(*after: GpuReading | None, idle: GpuReading | None = IDLE, up: GpuReading | None = WORKING) -> Bench:
    """One device whose engine, of two processes, has been stopped."""
    made = Bench(one=[idle, up, *after])
    made.proof.taken(["one"])
    made.proof.started(["one"], [OWN, CHILD])
    return made


def test_memory_that_is_back_is_not_waited_for() -> None:
    made = bench(IDLE)
    assert (made.wait(), made.told) == (0.0, [])


def test_memory_that_comes_back_late_is_waited_for() -> None:
    made = bench(WORKING, STUCK, IDLE)
    assert made.wait() == 2.0
    words = "waiting for the previous engine's GPU memory"
    assert made.told == [(words, 0.0), (words, 1.0)]


def test_memory_that_never_comes_back_is_told_with_who_holds_it() -> None:
    made = bench(STUCK)
    with pytest.raises(EngineError) as caught:
        made.wait()
    assert str(caught.value) == (
        "8,192 MiB of GPU one are still allocated after the engine exited (process 42 holds 8,192 MiB); "
        "refusing to start another engine. End the process that holds the memory"
    )
    assert made.now == 55.0
    assert [waited for _, waited in made.told] == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ({DESKTOP: GIB, OWN: GIB, CHILD: 7 * GIB}, "process 42 holds 1,024 MiB, process 43 holds 7,168 MiB)"),
        ({DESKTOP: GIB, OWN: None}, "process 42 holds some of them)"),
        ({DESKTOP: GIB}, "no process listed by NVML holds them)"),
        (None, "no process listed by NVML holds them)"),
    ],
)
def test_only_what_nvml_shows_of_this_runs_processes_is_named(held: Held | None, named: str) -> None:
    with pytest.raises(EngineError, match="8,192 MiB of GPU one are still allocated") as caught:
        bench(reading(9 * GIB, held)).wait()
    assert named in str(caught.value)


@pytest.mark.parametrize(("left", "back"), [(0, True), (TOLERANCE, True), (TOLERANCE + 1, False), (-GIB, True)])
def test_what_a_driver_keeps_is_tolerated(left: int, back: bool) -> None:
    assert TOLERANCE == 64 * MIB
    made = bench(reading(GIB + left, {DESKTOP: GIB}), IDLE)
    assert (made.wait() == 0.0) is back


@pytest.mark.parametrize(
    "after",
    [
        reading(5 * GIB, {DESKTOP: 5 * GIB}),
        reading(41 * GIB, {DESKTOP: GIB, STRANGER: 40 * GIB}),
        reading(2 * GIB, {DESKTOP: GIB, STRANGER: GIB}),
        reading(GIB, {DESKTOP: None}),  # its share is hidden by now, which is no memory of ours
    ],
)
def test_what_other_people_took_since_does_not_count(after: GpuReading) -> None:
    assert bench(after).wait() == 0.0


def test_what_other_people_took_hides_nothing_of_ones_own() -> None:
    both = reading(49 * GIB, {DESKTOP: GIB, STRANGER: 40 * GIB, OWN: 8 * GIB})
    with pytest.raises(EngineError, match=r"^8,192 MiB of GPU one .*process 42 holds 8,192 MiB\)"):
        bench(both).wait()


HOST_OWN = 31_042
"""What the host calls the engine's process."""


def test_an_engine_that_only_the_host_knows_by_that_number_is_this_runs() -> None:
    up = reading(81 * GIB, {DESKTOP: GIB, HOST_OWN: 80 * GIB})
    stuck = reading(9 * GIB, {DESKTOP: GIB, HOST_OWN: 8 * GIB})
    with pytest.raises(
        EngineError,
        match=r"8,192 MiB of GPU one are still allocated .*process 31042 holds 8,192 MiB",
    ):
        bench(stuck, up=up).wait()
    assert bench(stuck, IDLE, up=up).wait() == 1.0


def test_who_came_beside_an_engine_that_shows_is_somebody_else() -> None:
    up = reading(89 * GIB, {DESKTOP: GIB, OWN: 80 * GIB, STRANGER: 8 * GIB})
    assert bench(reading(9 * GIB, {DESKTOP: GIB, STRANGER: 8 * GIB}), up=up).wait() == 0.0


@pytest.mark.parametrize("up", [None, reading(81 * GIB), reading(None, {})])
def test_an_engine_that_nobody_sees_is_known_by_its_processes(up: GpuReading | None) -> None:
    with pytest.raises(EngineError, match="process 42 holds 8,192 MiB"):
        bench(STUCK, up=up).wait()


@pytest.mark.parametrize(
    ("idle", "after"),
    [
        (reading(GIB, None), reading(9 * GIB, None)),
        (reading(GIB, {DESKTOP: None}), reading(9 * GIB, {DESKTOP: None, OWN: None})),
    ],
)
def test_where_processes_are_hidden_the_devices_own_count_decides(idle: GpuReading, after: GpuReading) -> None:
    with pytest.raises(EngineError, match="8,192 MiB of GPU one are still allocated"):
        bench(after, idle=idle).wait()
    assert bench(after, idle, idle=idle).wait() == 1.0


@pytest.mark.parametrize(
    ("idle", "after"),
    [
        (IDLE, None),  # the GPU is lost
        (None, STUCK),  # there is no NVML yet
        (None, None),
        (reading(None), STUCK),  # it does not tell
        (IDLE, reading(None, {OWN: GIB})),
    ],
)
def test_what_nobody_can_read_is_not_waited_for(idle: GpuReading | None, after: GpuReading | None) -> None:
    assert bench(after, idle=idle).wait() == 0.0


def test_the_reading_before_the_first_engine_stays() -> None:
    made = bench(STUCK)
    made.proof.taken(["one"])
    with pytest.raises(EngineError):
        made.wait()


def test_a_device_that_could_not_be_read_at_first_is_noted_later() -> None:
    made = Bench(one=[None, IDLE, WORKING, STUCK])
    made.proof.taken(["one"])
    made.proof.taken(["one"])
    made.proof.started(["one"], [OWN, CHILD])
    with pytest.raises(EngineError):
        made.wait()


def test_a_device_that_was_never_noted_is_not_waited_for() -> None:
    assert Bench(one=[STUCK]).wait() == 0.0


def test_every_device_has_to_be_back_and_no_other() -> None:
    made = Bench(one=[IDLE], two=[IDLE, WORKING, WORKING, IDLE], three=[IDLE, WORKING, STUCK])
    made.proof.taken(["one", "two", "three"])
    made.proof.started(["two", "three"], [OWN, CHILD])
    assert made.wait("one", "two") == 1.0
    with pytest.raises(EngineError, match="of GPU three are still"):
        made.wait("one", "three")


def busy(utilization: float | None) -> GpuReading:
    return replace(IDLE, utilization=utilization)


def starting(*readings: GpuReading | None) -> tuple[Bench, float | None]:
    """A device before an engine is started on it, and the utilization that is kept of it."""
    made = Bench(one=[IDLE, *readings])
    made.proof.taken(["one"])
    made.proof.starting(["one"], lambda doing, waited: None)
    return made, made.proof.occupants("one", [OWN]).utilization


@pytest.mark.parametrize(
    ("readings", "kept", "seconds"),
    [
        ([busy(0.0)], 0.0, 0),
        ([busy(0.04)], 0.04, 0),
        ([busy(None)], None, 0),
        ([None], None, 0),
        ([busy(0.67)], 0.67, 2),  # in every reading: somebody computes
        ([busy(0.3), busy(0.67), busy(0.5)], 0.3, 2),
        ([busy(0.97), busy(0.0)], 0.0, 1),  # what the engine before did, or a desktop that blinked
        ([busy(0.97), busy(None)], 0.97, 1),
        ([busy(0.97), None], 0.97, 1),
    ],
)
def test_who_computes_before_an_engine_is_started_shows_in_all_readings(
    readings: list[GpuReading | None], kept: float | None, seconds: int
) -> None:
    made, utilization = starting(*readings)
    assert (utilization, made.now) == (kept, 50.0 + seconds)


def test_memory_comes_back_before_work_is_looked_at() -> None:
    made = bench(replace(STUCK, utilization=0.9), busy(0.0))
    made.proof.starting(["one"], lambda doing, waited: None)
    assert made.proof.occupants("one", ()).utilization == 0.0
    with pytest.raises(EngineError):
        bench(STUCK).proof.starting(["one"], lambda doing, waited: None)


def test_a_neighbour_that_ended_is_forgotten_at_the_next_start() -> None:
    made = Bench(one=[IDLE, busy(0.5), busy(0.5), busy(0.5), IDLE, busy(0.0)])
    made.proof.taken(["one"])
    for expected in (0.5, None, 0.0):
        made.proof.starting(["one"], lambda doing, waited: None)
        assert made.proof.occupants("one", ()).utilization == expected


def test_who_may_be_on_a_device() -> None:
    made = bench()
    assert made.proof.occupants("one", [77]) == Occupants({DESKTOP}, {OWN, CHILD, 77})
    assert made.proof.occupants("two", [77]) == Occupants(None, {OWN, CHILD, 77})
    assert bench(idle=reading(GIB)).proof.occupants("one", ()) == Occupants(None, {OWN, CHILD})


amounts = st.integers(0, 2**38)
processes = st.one_of(st.none(), st.dictionaries(st.integers(1, 50), st.one_of(st.none(), amounts), max_size=5))


@relaxed
@given(st.one_of(st.none(), amounts), processes, st.sets(st.integers(1, 50)))
def test_nothing_is_missing_where_nothing_changed(used: int | None, held: Held | None, own: set[int]) -> None:
    assert unreturned(reading(used, held), reading(used, held), own) == 0


@relaxed
@given(amounts, st.dictionaries(st.integers(1, 20), amounts), st.dictionaries(st.integers(1, 40), amounts), amounts)
def test_all_that_others_do_not_account_for_is_missing(
    used: int, before: dict[int, int], grown: dict[int, int], left: int
) -> None:
    after = {pid: before.get(pid, 0) + grown.get(pid, 0) for pid in {*before, *grown}}
    now = reading(used + sum(grown.values()) + left, {**after, 77: left})
    assert unreturned(reading(used, before), now, {77}) == left
