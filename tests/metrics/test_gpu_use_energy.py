"""The energy of a span, against counters that tick as NVML's do, and from power where none does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.metrics.gpu_use import energy
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from tests.metrics.gpu_readings import WHOLE, series, trace

relaxed = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])

TICK_MS = 100


def counted(moments_ms: Sequence[int], watts: int, phase_ms: int, base: float = 5e6) -> GpuTrace:
    """Readings of a counter that goes on every 100 ms, while the power stays the same."""
    ticks = [(moment + phase_ms) // TICK_MS for moment in moments_ms]
    return trace(
        *(
            GpuReading(at=1000 + moment / 1e3, energy=base + round(tick * watts * TICK_MS / 1e3, 3))
            for moment, tick in zip(moments_ms, ticks, strict=True)
        )
    )


@relaxed
@given(
    watts=st.integers(60, 700),
    phase_ms=st.integers(0, TICK_MS - 1),
    begin_ms=st.integers(0, 2000),
    length_ms=st.integers(700, 3000),
    after_ms=st.integers(0, 2000),
)
def test_energy_at_constant_power(watts: int, phase_ms: int, begin_ms: int, length_ms: int, after_ms: int) -> None:
    end_ms = begin_ms + length_ms
    told = energy(
        counted(range(0, end_ms + after_ms + 1, 50), watts, phase_ms), (1000 + begin_ms / 1e3, 1000 + end_ms / 1e3)
    )
    assert told == pytest.approx(watts * length_ms / 1e3, rel=0.02)


@relaxed
@given(
    st.integers(60, 700),
    st.integers(0, TICK_MS - 1),
    st.lists(st.integers(35, 65), min_size=60, max_size=60),
    st.integers(200, 400),
    st.integers(700, 1200),
)
def test_uneven_readings_tell_energy_to_one_of_their_gaps(
    watts: int, phase_ms: int, gaps_ms: list[int], begin_ms: int, length_ms: int
) -> None:
    moments = list(accumulate(gaps_ms, initial=0))
    span = (1000 + begin_ms / 1e3, 1000 + (begin_ms + length_ms) / 1e3)
    told = energy(counted(moments, watts, phase_ms), span)
    gap = max(b - a for a, b in pairwise(moments)) / 1e3
    assert told == pytest.approx(watts * length_ms / 1e3, abs=watts * gap * 1.001)


STEPS = [100, 100, 110, 110, 130, 130, 140, 140]
"""A counter, every 50 ms: it goes on at 75, 175 and 275 ms, as well as anybody can tell."""


@pytest.mark.parametrize(
    ("span", "joules"),
    [
        ((0.075, 0.175), 20),
        ((0.175, 0.275), 10),
        ((0.075, 0.275), 30),
        ((0.125, 0.225), 15),  # half of one and half of the next
        ((0.275, 0.325), 5),  # beyond the last at the pace of the last two
        ((0.025, 0.075), 10),  # before the first at the pace of the first two
        ((0.0, 0.35), 52.5),
        ((0.1, 0.1), 0),
    ],
)
def test_energy_goes_straight_from_tick_to_tick(span: tuple[float, float], joules: float) -> None:
    told = trace(*(GpuReading(at=number * 0.05, energy=step, power=1.0) for number, step in enumerate(STEPS)))
    assert energy(told, span) == pytest.approx(joules)


def test_readings_without_the_counter_are_passed_over() -> None:
    told = [GpuReading(at=number * 0.05, energy=step) for number, step in enumerate(STEPS)]
    told[3:3] = [GpuReading(at=0.12), GpuReading(at=0.13)]
    told.insert(0, GpuReading(at=-0.01))
    assert energy(trace(*told), (0.125, 0.225)) == pytest.approx(15)


@pytest.mark.parametrize(
    ("power", "span", "joules"),
    [
        ([100.0, 300.0, 200.0], (0.0, 2.0), 450.0),
        ([100.0, 300.0, 200.0], (0.0, 1.0), 200.0),
        ([100.0, None, 200.0], (0.0, 2.0), 300.0),
        ([100.0, 100.0, 100.0], (-0.5, 2.5), 300.0),  # begun before the first reading, and ended after the last
        ([100.0, 300.0, 900.0], (0.0, 1.5), 300.0),
        ([100.0, 300.0, 200.0], (0.5, 1.5), None),  # of one reading
        ([None, 300.0, None], (0.0, 2.0), None),
        ([None, None, None], (0.0, 2.0), None),
        ([100.0, 300.0, 200.0], (5.0, 7.0), None),
    ],
)
def test_energy_without_a_counter(power: list[float | None], span: tuple[float, float], joules: float | None) -> None:
    assert energy(series(power=power), span) == (None if joules is None else pytest.approx(joules))


@pytest.mark.parametrize("counter", [[5.0, 5.0, 5.0], [5.0, 6.0, 6.0], [None, 5.0, None]])
def test_a_counter_that_hardly_goes_on_tells_less_than_power(counter: list[float | None]) -> None:
    assert energy(series(power=[100.0, 300.0, 200.0], energy=counter), (0.0, 2.0)) == pytest.approx(450.0)


@pytest.mark.parametrize("span", [(3.0, 4.0), (-2.0, -1.0), (0.2, 0.8)])
def test_energy_is_not_made_up_where_nothing_was_read(span: tuple[float, float]) -> None:
    assert energy(series(energy=[0.0, 10.0, 20.0]), span) is None


def test_energy_of_nothing() -> None:
    assert energy(trace(), WHOLE) is None
