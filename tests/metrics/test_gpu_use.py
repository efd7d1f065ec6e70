"""Readings of GPUs over time, against sums done by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.metrics.gpu_use import POWER_BRAKE, THERMAL, clock_event_names, use
from pytest_vllmperf.records.devices import GpuReading, GpuTrace, GpuUse
from tests.metrics.gpu_readings import WHOLE, series, trace

relaxed = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


def used(*traces: GpuTrace, span: tuple[float, float] = WHOLE) -> GpuUse:
    found = use(traces, span)
    assert found is not None
    return found


def close(told: GpuUse) -> dict[str, Any]:
    """What another use must equal, but for rounding."""
    return {name: None if value is None else pytest.approx(value) for name, value in vars(told).items()}


ONE = series(
    used_bytes=[10, 40, 20],
    utilization=[0.5, 1.0, 0.9],
    power=[100.0, 300.0, 200.0],
    energy=[1000.0, 1200.0, 1450.0],
    sm_clock=[1.5e9, 1.8e9, 1.2e9],
    memory_clock=[2.6e9, 2.4e9, 2.6e9],
    temperature=[50, 70, 60],
    clock_events=[1, 4, 0x20],
)
OTHER = series(
    used_bytes=[5, 5, 6],
    utilization=[0.0, 0.4, 0.2],
    power=[10.0, 20.0, 30.0],
    energy=[0.0, 10.0, 30.0],
    sm_clock=[0.3e9, 2.0e9, 1.9e9],
    memory_clock=[0.4e9, 1.6e9, 3.2e9],
    temperature=[80, 30, 30],
    clock_events=[4, 0, 0x80],
)


def test_one_device_by_hand() -> None:
    expected = GpuUse(
        peak_bytes=40,
        energy=500.0,  # 250 J a second between the ticks at 0.5 and 1.5 s, and beyond them
        power=200.0,
        utilization=0.8,
        sm_clock=1.5e9,
        temperature=70,
        clock_events=0x25,
        memory_clock=2.6e9,
        power_capped=1 / 3,
    )
    assert vars(used(ONE, span=(0.0, 2.0))) == close(expected)


def test_two_devices_by_hand() -> None:
    expected = GpuUse(
        peak_bytes=46,
        energy=540.0,
        power=220.0,
        utilization=0.5,
        sm_clock=1.5e9,  # the other worked at 1.95 GHz
        temperature=80,
        clock_events=0xA5,
        memory_clock=2.4e9,  # the other's was idle at 0.4 GHz, and had 2.4 on the whole
        power_capped=1 / 3,  # its cap was set while it was idle
    )
    assert vars(used(ONE, OTHER, span=(0.0, 2.0))) == close(expected)


def test_only_the_readings_of_the_span_count() -> None:
    found = used(ONE, span=(1.0, 1.5))
    assert (found.peak_bytes, found.power, found.temperature, found.clock_events) == (40, 300.0, 70, 4)
    assert (found.sm_clock, found.utilization) == (1.8e9, 1.0)
    assert found.energy == pytest.approx(125.0)


def test_both_ends_belong_to_a_span() -> None:
    assert [one.at for one in ONE.within((0.0, 1.0))] == [0.0, 1.0]
    assert [one.at for one in ONE.within((0.1, 1.9))] == [1.0]


@pytest.mark.parametrize(
    "traces",
    [
        (),
        (trace(),),
        (series(power=[1.0, 2.0, 3.0]),),  # over by the time of the span
        (trace(GpuReading(at=60.0)),),  # not yet begun
        (trace(GpuReading(at=25.0, power=1.0)), trace(uuid="b")),  # one of two was not read
    ],
)
def test_a_span_without_readings(traces: tuple[GpuTrace, ...]) -> None:
    assert use(traces, (20.0, 30.0)) is None
    assert use(traces[::-1], (20.0, 30.0)) is None


SOURCES = {
    "used_bytes": {"peak_bytes"},
    "utilization": {"utilization"},
    "power": {"power"},
    "energy": set[str](),  # there is power
    "sm_clock": {"sm_clock"},
    "memory_clock": {"memory_clock"},
    "clock_events": {"power_capped"},
    "temperature": {"temperature"},
}


def without(full: GpuTrace, name: str) -> GpuTrace:
    silence: dict[str, Any] = {name: None}
    return replace(full, readings=tuple(replace(one, **silence) for one in full.readings))


@pytest.mark.parametrize(("name", "missing"), SOURCES.items())
def test_what_is_not_told_is_none_and_nothing_else(name: str, missing: set[str]) -> None:
    found = used(without(ONE, name))
    assert {field.name for field in fields(GpuUse) if getattr(found, field.name) is None} == missing


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("used_bytes", {"peak_bytes": None}),  # a sum without one of its parts would be wrong
        ("power", {"power": None}),
        ("utilization", {"utilization": 0.2}),
        ("sm_clock", {"sm_clock": 1.95e9}),
        ("memory_clock", {"memory_clock": 2.4e9}),
        ("temperature", {"temperature": 80}),
        ("clock_events", {"clock_events": 0x84, "power_capped": 0.0}),
    ],
)
def test_what_one_of_two_devices_does_not_tell(name: str, changed: dict[str, Any]) -> None:
    expected = GpuUse(**{**vars(used(ONE, OTHER)), **changed})
    assert vars(used(without(ONE, name), OTHER)) == close(expected)


def test_energy_of_two_devices_needs_both() -> None:
    silent = without(without(ONE, "energy"), "power")
    assert used(silent, OTHER).energy is None


def test_gaps_are_left_out() -> None:
    found = used(series(power=[100.0, None, 200.0], utilization=[None, 0.4, None], used_bytes=[None, 7, 3]))
    assert (found.power, found.utilization, found.peak_bytes) == (150.0, 0.4, 7)


@pytest.mark.parametrize(
    ("utilization", "clocks", "median"),
    [
        ([1.0, 0.9, 1.0], [1.8e9, 1.4e9, 1.9e9], 1.8e9),
        ([0.0, 0.9, 0.0], [0.3e9, 1.7e9, 0.3e9], 1.7e9),  # an idle GPU clocks down
        ([0.0, 0.0, 0.0], [0.3e9, 0.4e9, 0.3e9], None),
        ([None, None, None], [0.9e9, 1.0e9, 1.1e9], 1.0e9),  # as far as anyone knows it works
        ([1.0, 1.0, None], [0, 1.0e9, None], 1.0e9),  # asleep
    ],
)
def test_clocks_of_a_working_gpu(
    utilization: list[float | None], clocks: list[float | None], median: float | None
) -> None:
    assert used(series(utilization=utilization, sm_clock=clocks)).sm_clock == median


def test_of_several_devices_the_slowest_clock_is_told() -> None:
    steady, wild = series(sm_clock=[1.0e9, 1.0e9, 1.0e9]), series(sm_clock=[1.0e9, 2.0e9, 3.0e9])
    assert used(wild, steady).sm_clock == 1.0e9


values = st.none() | st.integers(1, 1000)
readings: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    used_bytes=values,
    utilization=st.none() | st.sampled_from([0.0, 0.25, 1.0]),
    power=values,
    energy=values,
    sm_clock=values,
    temperature=values,
    clock_events=st.none() | st.integers(0, 255),
)
many = st.lists(readings, min_size=2, max_size=6).map(
    lambda told: trace(*(GpuReading(at=float(second), **one) for second, one in enumerate(told)))
)


@relaxed
@given(st.lists(many, min_size=1, max_size=4), st.randoms())
def test_the_order_of_devices_does_not_matter(traces: list[GpuTrace], random: Any) -> None:
    shuffled = random.sample(traces, len(traces))
    assert vars(used(*shuffled)) == close(used(*traces))


Told = TypeVar("Told", GpuReading, GpuUse)


def times(told: Told, factor: int, *names: str) -> Told:
    """The same, with some numbers a multiple of what they were."""
    numbers = {name: getattr(told, name) for name in names}
    changed: Any = {name: None if number is None else number * factor for name, number in numbers.items()}
    return replace(told, **changed)


@relaxed
@given(many, st.sampled_from([2, 3, 10]))
def test_sums_follow_what_is_read(one: GpuTrace, factor: int) -> None:
    scaled = [times(reading, factor, "used_bytes", "power", "energy", "sm_clock") for reading in one.readings]
    expected = times(used(one), factor, "peak_bytes", "power", "energy", "sm_clock")
    assert vars(used(trace(*scaled))) == close(expected)


@relaxed
@given(many, st.integers(-100, 100))
def test_the_clock_may_begin_anywhere(one: GpuTrace, by: int) -> None:
    later = replace(one, readings=tuple(replace(reading, at=reading.at + by) for reading in one.readings))
    assert vars(used(later, span=(WHOLE[0] + by, WHOLE[1] + by))) == close(used(one))


@relaxed
@given(many)
def test_devices_alike_add_up(one: GpuTrace) -> None:
    assert vars(used(one, replace(one, uuid="b"))) == close(times(used(one), 2, "peak_bytes", "power", "energy"))


def test_clock_events_are_nvmls() -> None:
    assert set(THERMAL) == {
        pynvml.nvmlClocksEventReasonSwThermalSlowdown,
        pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    }
    assert set(POWER_BRAKE) == {
        pynvml.nvmlClocksThrottleReasonHwSlowdown,
        pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }


@pytest.mark.parametrize(
    ("bits", "thermal", "brake"),
    [
        (0, [], []),
        (0x01 | 0x04 | 0x02, [], []),  # idle, power cap, clocks that someone set
        (0x20, ["software thermal slowdown"], []),
        (0x64, ["software thermal slowdown", "hardware thermal slowdown"], []),
        (0x88, [], ["hardware slowdown", "power brake"]),
        (0xC8, ["hardware thermal slowdown"], ["hardware slowdown", "power brake"]),
    ],
)
def test_names_of_clock_events(bits: int, thermal: list[str], brake: list[str]) -> None:
    assert clock_event_names(bits, THERMAL) == thermal
    assert clock_event_names(bits, POWER_BRAKE) == brake
