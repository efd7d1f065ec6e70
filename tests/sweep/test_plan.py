"""What is measured next, in which order, and how long it takes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.sweep.plan import best_value, grouped, next_points, seconds_left
from pytest_vllmperf.sweep.space import Axis, Point, Space

HIGHER = Direction.HIGHER
METRIC = "output_throughput"


def result(settings: dict[str, Any], level: float = 100.0, **changed: Any) -> PointResult:
    engine = EngineSamples(discarded=0, iterations=2, samples={METRIC: [level, level]})
    return PointResult(**{"settings": settings, "engines": (engine,), "seconds": 2.0, **changed})


@given(st.lists(st.integers(0, 5), max_size=40))
def test_items_of_one_key_stand_together(keys: list[int]) -> None:
    items = list(enumerate(keys))
    found = grouped(items, lambda item: item[1])
    assert sorted(found) == items
    changes = sum(a[1] != b[1] for a, b in pairwise(found))
    assert changes == max(0, len(set(keys)) - 1)
    assert all(a < b for a, b in pairwise(found) if a[1] == b[1])


def test_what_is_done_is_not_measured_again() -> None:
    space = Space((Axis("a", (1, 2, 3)),))
    missing, best = next_points(space, {Point.of({"a": 2}): result({"a": 2})}, METRIC, HIGHER)
    assert [point.values for point in missing] == [{"a": 1}, {"a": 3}]
    assert best == {}


def test_the_best_of_a_stage_is_fixed_for_the_next() -> None:
    space = Space((Axis("t", (1, 2)), Axis("s", (8, 9))), stages=("t", "s"))
    results = {Point.of(one.settings): one for one in (result({"t": 1, "s": 8}, 90), result({"t": 2, "s": 8}, 110))}
    missing, best = next_points(space, results, METRIC, HIGHER)
    assert best == {"t": 2}
    assert [point.values for point in missing] == [{"t": 2, "s": 9}]
    results[missing[0]] = result({"t": 2, "s": 9}, 105)
    assert next_points(space, results, METRIC, HIGHER) == ([], {"t": 2, "s": 8})


def test_a_value_that_fails_somewhere_is_not_the_best() -> None:
    points = [
        result({"a": 1, "c": 1}, 100),
        result({"a": 1, "c": 2}, 100),
        result({"a": 2, "c": 1}, 900),
        result({"a": 2, "c": 2}, engines=(), reason="out of memory"),
    ]
    assert best_value("a", points, METRIC, HIGHER) == 1


def test_less_is_better_where_the_metric_says_so() -> None:
    points = [result({"a": 1}, 5.0), result({"a": 2}, 3.0)]
    assert best_value("a", points, METRIC, Direction.LOWER) == 2
    assert best_value("a", points, METRIC, HIGHER) == 1


def test_where_all_failed_the_first_value_stays() -> None:
    points = [result({"a": value}, engines=(), reason="did not start") for value in (7, 8)]
    assert best_value("a", points, METRIC, HIGHER) == 7


def test_time_left_counts_starts_apart() -> None:
    done = [result({}, seconds=30.0, started=True), result({}, seconds=2.0), result({}, seconds=4.0)]
    assert seconds_left(done, points=5, starts=1) == 4 * 3.0 + 30.0
    assert seconds_left([], points=5, starts=1) is None
    assert seconds_left([result({}, seconds=0.0)], points=5, starts=1) is None
