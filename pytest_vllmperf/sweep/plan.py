"""What is measured next, in which order, and how long that will take. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, log
from typing import Any, Final, TypeVar

from pytest_vllmperf.records.sweep import PointResult, Values
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.sweep.space import Point, Space

NEAR: Final = 0.03
"""Two values of a stage that differ by less are told: one engine each does not tell them apart for certain."""
_UNKNOWN_GAIN: Final = 0.5
"""Power of the load by which a point takes less time, where one load alone is measured: between 0 and 1."""

Item = TypeVar("Item")


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[Item]:
    """Items in an order that keeps those of one key together; keys and items come in the order of their first.

    An engine that runs serves all points of its spec, so that it is started once.
    """
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return [item for group in groups.values() for item in group]


def next_points(
    space: Space, results: Mapping[Point, PointResult], metric: str, better: Direction
) -> tuple[list[Point], Values]:
    """The points of the first round that is not complete, and the values that the rounds before have fixed.

    It follows from the results alone, so a sweep that was ended goes on where it was.

    Args:
        space: all points.
        results: of those that are done.
        metric: that decides which value of a stage is the best.
        better: its better direction.

    Returns:
        The missing points, empty where all is done, and the best value of each stage that is complete.
    """
    best: Values = {}
    for _ in range(space.rounds):
        points = list(space.points(best))
        missing = [point for point in points if point not in results]
        if missing or not space.stages:
            return missing, best
        name = space.stages[len(best)]
        best[name] = best_value(name, [results[point] for point in points], metric, better)
    return [], best


def in_order(
    space: Space,
    results: Mapping[Point, PointResult],
    metric: str,
    better: Direction,
    key: Callable[[Point], Hashable],
) -> list[Point]:
    """The points that are done, in the order in which a sweep without interruption measures them one by one.

    Args:
        space: all points.
        results: of those that are done.
        metric: that decides which value of a stage is the best.
        better: its better direction.
        key: of a point's engine.
    """
    _, best = next_points(space, results, metric, better)
    fixed = list(best.items())
    rounds = [space.points(dict(fixed[:count])) for count in range(min(len(fixed) + 1, space.rounds))]
    planned = [point for points in rounds for point in grouped(points, key)]
    return list(dict.fromkeys(point for point in (*planned, *results) if point in results))


def best_value(name: str, results: Sequence[PointResult], metric: str, better: Direction) -> Any:
    """The value of an axis with the best geometric mean of a metric over all points that have it.

    A value with a point that failed comes after all values without one. Where nothing was measured it is the first.

    Args:
        name: of the axis.
        results: all points of a stage, at least one.
        metric: that decides.
        better: its better direction.
    """
    means = _means(name, results, metric)
    sign = 1 if better is Direction.HIGHER else -1
    return max(means, key=lambda one: sign * one[1])[0] if means else results[0].settings[name]


def near_best(space: Space, results: Mapping[Point, PointResult], best: Values, metric: str) -> dict[str, list[Any]]:
    """For each stage the values whose mean, as `best_value` takes it, differs from the best by less than `NEAR`.

    Args:
        space: all points.
        results: of those that are done.
        best: the value of each stage that is complete, in their order.
        metric: that decided.
    """
    fixed = list(best.items())
    found = {}
    for count, (name, chosen) in enumerate(fixed):
        means = _means(name, [results[point] for point in space.points(dict(fixed[:count]))], metric)
        top = next((mean for value, mean in means if value == chosen), None)
        others = [
            value for value, mean in means if value != chosen and top is not None and abs(mean - top) < log(1 + NEAR)
        ]
        if others:
            found[name] = others
    return found


def _means(name: str, results: Sequence[PointResult], metric: str) -> list[tuple[Any, float]]:
    """Of each value with the fewest failed points the mean logarithm, over what all of them measured.

    Else a value would be the best because the point that failed is one at which all values are slow.
    """
    levels: dict[int, dict[Point, float]] = {}
    values = _different(result.settings[name] for result in results)
    for one in results:
        own = levels.setdefault(values.index(one.settings[name]), {})
        if one.sound and (level := one.value(metric)) is not None and level > 0:
            own[Point.of({axis: value for axis, value in one.settings.items() if axis != name})] = log(level)
    most = max(map(len, levels.values()))
    full = {place: own for place, own in levels.items() if len(own) == most}
    common = set.intersection(*(set(own) for own in full.values()))
    among = {place: common or set(own) for place, own in full.items()}
    return [
        (values[place], fsum(full[place][point] for point in points) / len(points))
        for place, points in among.items()
        if points
    ]


def _different(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


@dataclass(frozen=True)
class Rest:
    """What is left of a sweep.

    Attributes:
        points: those that are known.
        more: how many others there are, of later stages.
        starts: engines that the known ones start.
        workers: that share them.
    """

    points: Sequence[Values]
    more: int = 0
    starts: int = 0
    workers: int = 1


def seconds_left(done: Iterable[PointResult], rest: Rest, load: str | None) -> float | None:
    """How long the rest takes, by what the measured points took; None while none is measured.

    The start of an engine is counted apart. A point takes as long as those at its load did. Between and beyond the
    loads that are measured, its time is a power of the load: twice the load takes as long at most, and half as long at
    least. While one load alone is measured, the estimate is the geometric mean of these two bounds.

    Args:
        done: results of this study.
        rest: what is left.
        load: the axis along which the load is varied; None where it is not.
    """
    timed = [one for one in done if one.seconds > 0]
    if not timed:
        return None
    starts = [_start(one) for one in timed if one.started]
    by_load: dict[float, list[float]] = {}
    for one in timed:
        by_load.setdefault(one.settings[load] if load else 1.0, []).append(_work(one))
    means = {at: _mean(by_load[at]) for at in sorted(by_load)}
    points = [_expected(values[load] if load else 1.0, means) for values in rest.points]
    known = fsum(points) + rest.starts * (_mean(starts) if starts else 0.0)
    whole = fsum(one.seconds for one in timed) + known
    return (known + rest.more * whole / (len(timed) + len(points))) / rest.workers


def _work(one: PointResult) -> float:
    """Seconds of a point's first measurement; where an engine was started for it, those of its iterations alone."""
    if not one.started or not one.engines:
        return one.seconds
    engine = one.engines[0]
    tokens, rates = engine.values("output_tokens"), engine.values("output_throughput")
    taken = [count / rate for count, rate in zip(tokens, rates, strict=False) if rate > 0]
    return min(one.seconds, _mean(taken) * (engine.discarded + engine.iterations)) if taken else one.seconds


def _start(one: PointResult) -> float:
    """Seconds in which another engine starts; the first start may have taken longer, as vLLM is imported once."""
    told = one.engines[0].values("load_time") if one.engines else []
    return min([one.seconds - _work(one), *told])


def _expected(load: float, means: Mapping[float, float]) -> float:
    """Seconds of a point at a load.

    Args:
        load: of the point, above 0.
        means: seconds by load, ascending; at least one.
    """
    if load in means:
        return means[load]
    loads = list(means)
    if len(loads) == 1:
        return means[loads[0]] * float((loads[0] / load) ** _UNKNOWN_GAIN)
    place = min(max(bisect(loads, load), 1), len(loads) - 1)
    low, high = loads[place - 1], loads[place]
    power = log(means[low] / means[high]) / log(high / low) if means[low] > 0 and means[high] > 0 else 0.0
    nearest = low if load < high else high
    return means[nearest] * float((nearest / load) ** min(1.0, max(0.0, power)))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
