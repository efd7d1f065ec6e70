"""What is measured next, in which order, and how long that will take. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import fsum, log
from typing import Any, TypeVar

from pytest_vllmperf.records.sweep import PointResult, Values
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.sweep.space import Point, Space

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
    scores: list[tuple[int, float]] = []
    values: list[Any] = []
    for value in _different(result.settings[name] for result in results):
        own = [result for result in results if result.settings[name] == value]
        levels = [level for one in own if one.sound and (level := one.value(metric)) is not None and level > 0]
        mean = fsum(map(log, levels)) / len(levels) if levels else float("-inf")
        scores.append((len(levels) - len(own), mean if better is Direction.HIGHER or not levels else -mean))
        values.append(value)
    return values[max(range(len(values)), key=lambda place: scores[place])]


def _different(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def seconds_left(done: Iterable[PointResult], points: int, starts: int, workers: int = 1) -> float | None:
    """How long the rest takes, by what the measured points took; None while none is measured.

    Args:
        done: results of this study.
        points: that are left.
        starts: of engines that are left among them.
        workers: that share them.
    """
    timed = [result for result in done if result.seconds > 0]
    if not timed:
        return None
    started = [result.seconds for result in timed if result.started]
    running = [result.seconds for result in timed if not result.started]
    mean = fsum(running or started) / len(running or started)
    with_start = fsum(started) / len(started) if started else mean
    return (max(0, points - starts) * mean + min(starts, points) * max(mean, with_start)) / workers
