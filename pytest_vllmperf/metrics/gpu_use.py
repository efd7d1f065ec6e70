"""What NVML told of a GPU over time, and what that comes to over a span: memory, energy, clocks. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median

from pytest_vllmperf.records.devices import GpuReading, GpuTrace, GpuUse, Span
from pytest_vllmperf.stats.known import Number, sum_of_all

THERMAL = {0x20: "software thermal slowdown", 0x40: "hardware thermal slowdown"}
POWER_CAP = 0x04
"""NVML's bit for a software power cap: how a GPU works at full load, so it voids nothing."""
POWER_BRAKE = {0x08: "hardware slowdown", 0x80: "power brake"}
"""Clock event reasons of NVML's that void a measurement; a power cap is how a GPU works at full load."""

NEIGHBOUR_SHARE = 0.05
"""From this share of a GPU's time on, a process that is not of this run voids a measurement. What it uses, the engine
lacks: less than the default margin cannot make a regression by itself, and a desktop that blinks uses a per cent."""

SIGHTINGS = 2
"""In so many readings at least a neighbour must show. The driver takes six samples a second, each with the one process
that was active then: in a short measurement a single sample would already be a large share."""


def use(traces: Sequence[GpuTrace], span: Span) -> GpuUse | None:
    """What devices did in a span; None where one of them was not read in it.

    Args:
        traces: one for each device.
        span: of one iteration, say.
    """
    spans = [trace.within(span) for trace in traces]
    if not spans or not all(spans):
        return None
    return GpuUse(
        peak_bytes=sum_of_all([_highest([one.used_bytes for one in readings]) for readings in spans]),
        energy=sum_of_all([energy(trace, span) for trace in traces]),
        power=sum_of_all([_mean([one.power for one in readings]) for readings in spans]),
        utilization=_mean([_mean([one.utilization for one in readings]) for readings in spans]),
        sm_clock=_lowest([_median(_working_clocks(readings)) for readings in spans]),
        temperature=_highest([one.temperature for readings in spans for one in readings]),
        clock_events=_bits(one for readings in spans for one in readings),
        memory_clock=_lowest([_median(_memory_clocks(readings)) for readings in spans]),
        power_capped=_highest([_share_capped(readings) for readings in spans]),
    )


def energy(trace: GpuTrace, span: Span) -> float | None:
    """Joules that a device took in a span; None where that cannot be told.

    From its counter, read at both ends by going straight from one of its ticks to the next: a counter that goes on
    every 100 ms would be wrong by a tenth in a second. Without a counter, power over time by the trapezoidal rule.
    """
    read = trace.within(span)
    ticks = _ticks(trace.readings)
    if read and len(ticks) > 1:
        return _at(ticks, span[1]) - _at(ticks, span[0])
    known = [(one.at, one.power) for one in read if one.power is not None]
    if len(known) < 2:
        return None
    measured = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(known))
    return measured * (span[1] - span[0]) / (known[-1][0] - known[0][0])  # and beyond both ends


def newcomers(trace: GpuTrace, span: Span, belonging: Collection[int] | None = None) -> dict[int, int | None]:
    """Processes on a device within a span that do not belong there, with the most bytes that each held.

    Args:
        trace: of the device.
        span: begin and end.
        belonging: processes that do; None for those that were there at the first reading.
    """
    readings = [one.processes for one in trace.readings if one.at <= span[1] and one.processes is not None]
    if not readings:
        return {}
    found: dict[int, int | None] = {}
    for processes in (one.processes for one in trace.within(span) if one.processes is not None):
        for pid, held in processes.items():
            if pid not in (readings[0] if belonging is None else belonging):
                found[pid] = _highest([found.get(pid), held])
    return found


def neighbours(trace: GpuTrace, span: Span, own: Collection[int]) -> dict[int, float] | None:
    """Processes that used a device beside this run's, with their shares of its time, the largest first.

    Args:
        trace: of the device.
        span: begin and end.
        own: processes of this run's engines.

    Returns:
        Those that showed often enough. None where nothing is known: use by process is not told, or none of `own` is
        among the processes. Then they bear other numbers, as in a container, or work on behalf of others, as CUDA's
        multi-process service does.
    """
    told = [one for one in trace.readings if one.use_by_process is not None]
    sightings = Counter(pid for one in told for pid, share in (one.use_by_process or {}).items() if share)
    shares = _mean_shares(told, span)
    if not shares.keys() & set(own):
        return None
    others = {pid: share for pid, share in shares.items() if pid not in own and sightings[pid] >= SIGHTINGS}
    return dict(sorted(others.items(), key=lambda one: one[1], reverse=True))


def _mean_shares(told: Sequence[GpuReading], span: Span) -> dict[int, float]:
    """Mean share by process: each reading holds for the time since the one before, as far as that is in the span."""
    total = 0.0
    sums: dict[int, float] = {}
    for before, one in pairwise(told):
        seconds = min(one.at, span[1]) - max(before.at, span[0])
        if seconds > 0:
            total += seconds
            for pid, share in (one.use_by_process or {}).items():
                sums[pid] = sums.get(pid, 0.0) + share * seconds
    return {pid: used / total for pid, used in sums.items()}


def clock_event_names(bits: int, names: Mapping[int, str]) -> list[str]:
    """Those of `names` that are set."""
    return [name for bit, name in names.items() if bits & bit]


def _ticks(readings: Sequence[GpuReading]) -> list[tuple[float, float]]:
    """When a counter went on, and to what; it went on at some time since the reading before."""
    ticks: list[tuple[float, float]] = []
    before: GpuReading | None = None
    for one in readings:
        if one.energy is None:
            continue
        if before is not None and before.energy is not None and one.energy != before.energy:
            ticks.append(((before.at + one.at) / 2, one.energy))
        before = one
    return ticks


def _at(ticks: Sequence[tuple[float, float]], moment: float) -> float:
    """The counter at a moment: between two ticks in proportion, beyond them at the pace of the nearest two."""
    later = next((i for i, (at, _) in enumerate(ticks) if at >= moment), len(ticks) - 1)
    (x0, y0), (x1, y1) = ticks[max(later, 1) - 1], ticks[max(later, 1)]
    return y0 + (y1 - y0) * (moment - x0) / (x1 - x0)


def _working_clocks(readings: Sequence[GpuReading]) -> list[float]:
    return [one.sm_clock for one in readings if one.sm_clock and one.utilization != 0]


def _memory_clocks(readings: Sequence[GpuReading]) -> list[float]:
    return [one.memory_clock for one in readings if one.memory_clock and one.utilization != 0]


def _share_capped(readings: Sequence[GpuReading]) -> float | None:
    """The share of readings with a kernel running in which the power limit held the clocks down."""
    told = [one.clock_events & POWER_CAP for one in readings if one.clock_events is not None and one.utilization != 0]
    return fmean(bit != 0 for bit in told) if told else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _highest(values: Sequence[Number | None]) -> Number | None:
    return max((value for value in values if value is not None), default=None)


def _lowest(values: Sequence[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _bits(readings: Iterable[GpuReading]) -> int:
    found = 0
    for one in readings:
        found |= one.clock_events or 0
    return found
