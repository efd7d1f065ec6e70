"""The memory of an engine's devices over time, thinned, with what the engine did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.run import EngineRun, RunResult
from pytest_vllmperf.records.timeline import DeviceMemory, EngineTimeline, Phase, PhaseName, StartSeen

MOST: Final = 500
"""Points of one engine start, all its devices together."""
_DIGITS = 3

Point = tuple[float, int]
"""Seconds on the monotonic clock, and bytes."""


def engine_timeline(
    start: StartSeen, run: EngineRun, traces: Sequence[GpuTrace], most: int = MOST
) -> EngineTimeline | None:
    """The timeline of one engine; None where nothing was read of its devices.

    Args:
        start: of the engine.
        run: what was measured on it.
        traces: of its devices meanwhile, one for each.
        most: points that are kept of all devices together, at least four of each.
    """
    loading = {trace.uuid: trace for trace in start.traces}
    read = [[*_points(loading.get(trace.uuid), start), *_points(trace, start)] for trace in traces]
    if not any(read):
        return None
    each = max(4, most // len(read))
    return EngineTimeline(
        phases=tuple(_phases(start, run)),
        devices=tuple(_memory(thinned(points, each), start) for points in read),
    )


def thinned(points: Sequence[Point], most: int) -> Sequence[Point]:
    """At most so many points in their order: the first, the last, and of stretches the highest and the lowest.

    Args:
        points: by rising time.
        most: at least four.
    """
    if len(points) <= most:
        return points
    inner = range(1, len(points) - 1)
    stretches = (most - 2) // 2
    edges = [inner.start + len(inner) * part // stretches for part in range(stretches + 1)]
    kept = {0, len(points) - 1}
    for begin, end in pairwise(edges):
        kept.add(max(range(begin, end), key=lambda at: points[at][1]))
        kept.add(min(range(begin, end), key=lambda at: points[at][1]))
    return [points[at] for at in sorted(kept)]


def _points(trace: GpuTrace | None, start: StartSeen) -> Iterator[Point]:
    """What was read of a device since the engine's start."""
    for one in () if trace is None else trace.readings:
        if one.used_bytes is not None and one.at >= start.began:
            yield one.at, one.used_bytes


def _memory(points: Sequence[Point], start: StartSeen) -> DeviceMemory:
    return DeviceMemory(
        at=tuple(round(at - start.began, _DIGITS) for at, _ in points), used_bytes=tuple(used for _, used in points)
    )


def _phases(start: StartSeen, run: EngineRun) -> Iterator[Phase]:
    yield _phase("loading", start, start.began, start.ready)
    for name, results in _measured(run):
        spans = [result.span for result in results if result.finished and result.span[0] >= start.began]
        if spans:
            yield _phase(name, start, min(begin for begin, _ in spans), max(end for _, end in spans))


def _measured(run: EngineRun) -> tuple[tuple[PhaseName, Sequence[RunResult]], ...]:
    return (("warm-up", run.warmup), ("measuring", run.iterations))


def _phase(name: PhaseName, start: StartSeen, begin: float, end: float) -> Phase:
    return Phase(name=name, begin=round(begin - start.began, _DIGITS), end=round(end - start.began, _DIGITS))
