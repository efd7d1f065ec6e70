"""The memory of devices over time: what was read, from the start on, with its peaks."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from pydantic import ValidationError

from pytest_vllmperf.metrics.timeline import engine_timeline, thinned
from pytest_vllmperf.records.devices import GpuReading, GpuTrace
from pytest_vllmperf.records.run import EngineRun
from pytest_vllmperf.records.timeline import DeviceMemory, Phase, StartSeen
from tests.metrics.test_reduce import FACTS, request, result

WARM = result(request(0))  # from 10 to 17 s
COUNTED = (
    result(request(0, queued_ts=20.0, last_token_ts=22.0)),
    result(request(0, queued_ts=23.0, last_token_ts=25.0)),
)
RUN = EngineRun(FACTS, (), (WARM,), COUNTED)


def trace(uuid: str, **at: int | None) -> GpuTrace:
    """Bytes by second, such as `s5=100`."""
    return GpuTrace(uuid, tuple(GpuReading(float(second[1:]), used) for second, used in at.items()))


def test_from_the_start_to_the_last_iteration() -> None:
    start = StartSeen(2.0, 9.0, (trace("a", s3=10, s8=70),))
    found = engine_timeline(start, RUN, [trace("a", s10=80, s21=None, s22=90)])
    assert found is not None
    assert found.devices == (DeviceMemory(at=(1.0, 6.0, 8.0, 20.0), used_bytes=(10, 70, 80, 90)),)
    assert found.phases == (
        Phase(name="loading", begin=0.0, end=7.0),
        Phase(name="warm-up", begin=8.0, end=15.0),
        Phase(name="measuring", begin=18.0, end=23.0),
    )


def test_each_device_has_its_own_in_the_order_of_the_engine() -> None:
    start = StartSeen(0.0, 9.0, (trace("a", s1=1), trace("b", s1=2)))
    found = engine_timeline(start, RUN, [trace("b", s10=20), trace("a", s10=10)])
    assert found is not None
    assert [one.used_bytes for one in found.devices] == [(2, 20), (1, 10)]


def test_what_an_engine_before_did_is_not_part_of_it() -> None:
    # One that is started for each turn: its first turns were on engines that are gone.
    found = engine_timeline(StartSeen(18.0, 19.0), RUN, [trace("a", s5=99, s20=1)])
    assert found is not None
    assert found.devices == (DeviceMemory(at=(2.0,), used_bytes=(1,)),)
    assert [one.name for one in found.phases] == ["loading", "measuring"]


@pytest.mark.parametrize("traces", [[], [GpuTrace("a", ())], [trace("a", s5=None)]])
def test_nothing_is_told_where_nothing_was_read(traces: list[GpuTrace]) -> None:
    assert engine_timeline(StartSeen(0.0, 9.0), RUN, traces) is None


def test_points_are_shared_among_devices() -> None:
    readings = {f"s{second}": second for second in range(2000)}
    found = engine_timeline(StartSeen(0.0, 9.0), RUN, [trace("a", **readings), trace("b", **readings)], most=100)
    assert found is not None
    assert [40 <= len(one.at) <= 50 for one in found.devices] == [True, True]


@pytest.mark.parametrize("seed", range(20))
def test_a_thinned_line_keeps_its_ends_and_its_extremes(seed: int) -> None:
    drawn = random.Random(seed)
    count, most = drawn.randrange(5, 5000), drawn.randrange(4, 600)
    points = [(float(at), drawn.randrange(1000)) for at in range(count)]
    spike = drawn.randrange(count)
    points[spike] = (float(spike), 10**6)
    kept = thinned(points, most)
    assert len(kept) <= max(most, 4)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert points[spike] in kept
    assert min(points[1:-1], key=lambda point: point[1]) in kept
    assert list(kept) == sorted(kept)
    if count > most:  # no stretch of time is without a point
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(kept)]
        assert max(gaps) <= 4 * count / most + 2


def test_a_damaged_timeline_is_refused() -> None:
    with pytest.raises(ValidationError, match="differ in length"):
        DeviceMemory(at=(1.0,), used_bytes=())
