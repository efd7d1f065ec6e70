"""What is measured next, in which order, and how long it takes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.sweep.plan import Rest, best_value, grouped, near_best, next_points, seconds_left
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


def test_values_are_compared_by_what_all_of_them_measured() -> None:
    points = [
        result({"a": 1, "c": 1}, engines=(), reason="engine died"),  # at c=1 all values are slow
        result({"a": 1, "c": 2}, 90),
        result({"a": 1, "c": 4}, 100),
        result({"a": 2, "c": 1}, 10),
        result({"a": 2, "c": 2}, 120),
        result({"a": 2, "c": 4}, engines=(), reason="engine died"),
    ]
    assert best_value("a", points, METRIC, HIGHER) == 2


def test_values_close_to_the_best_of_a_stage_are_told() -> None:
    space = Space((Axis("t", (1, 2, 4)), Axis("s", (8, 9))), stages=("t", "s"))
    levels = {(1, 8): 98, (2, 8): 100, (4, 8): 95, (2, 9): 50}
    results = {Point.of({"t": t, "s": s}): result({"t": t, "s": s}, level) for (t, s), level in levels.items()}
    best = next_points(space, results, METRIC, HIGHER)[1]
    assert best == {"t": 2, "s": 8}
    assert near_best(space, results, best, METRIC) == {"t": [1]}


def started(load: float, seconds: float, start: float, imported: float = 0.0) -> PointResult:
    """A point for which an engine was started, with its iterations of a second each."""
    samples = {"output_tokens": [64.0] * 2, "output_throughput": [64.0] * 2}
    once = {"load_time": start}
    engine = EngineSamples(discarded=round(seconds) - 2, iterations=2, samples=samples, once=once)
    return result({"c": load}, engines=(engine,), seconds=start + seconds + imported, started=True)


def test_time_left_counts_starts_apart() -> None:
    done = [started(1, 8.0, 30.0), result({"c": 1}, seconds=10.0)]
    assert seconds_left(done, Rest([{"c": 1}] * 4, starts=1), "c") == 4 * 9.0 + 30.0
    assert seconds_left(done, Rest([{"c": 1}] * 4, starts=1, workers=2), "c") == (4 * 9.0 + 30.0) / 2
    assert seconds_left([], Rest([{"c": 1}]), "c") is None
    assert seconds_left([result({"c": 1}, seconds=0.0)], Rest([{"c": 1}]), "c") is None


def test_vllm_is_imported_once() -> None:
    done = [started(1, 8.0, 5.0, imported=90.0)]
    assert seconds_left(done, Rest([{"c": 1}] * 2, starts=2), "c") == 2 * 8.0 + 2 * 5.0


def test_a_start_that_says_nothing_of_itself_is_what_the_iterations_leave() -> None:
    one = started(1, 8.0, 30.0)
    silent = one.model_copy(update={"engines": (one.engines[0].model_copy(update={"once": {}}),)})
    assert seconds_left([silent], Rest([{"c": 1}] * 2, starts=1), "c") == 2 * 8.0 + 30.0


def test_time_left_of_points_that_are_not_known_is_that_of_a_usual_one() -> None:
    done = [result({"a": 1}, seconds=4.0), result({"a": 2}, seconds=8.0)]
    assert seconds_left(done, Rest([{"a": 3}], more=10), None) == pytest.approx(6.0 + 10 * 6.0)


def test_a_larger_load_takes_less_time() -> None:
    slowest = [started(1, 64.0, 30.0)]
    rest = Rest([{"c": load} for load in (2, 4, 8, 16, 32, 64)])
    saturating = [64.0 / min(load, 16) for load in (2, 4, 8, 16, 32, 64)]
    first = seconds_left(slowest, rest, "c")
    assert first is not None
    assert sum(saturating) < first < 64.0 * 6 / 2
    two = [*slowest, result({"c": 2}, seconds=32.0)]
    assert seconds_left(two, Rest([{"c": 8}]), "c") == pytest.approx(8.0)  # as the step before says
    flat = [*slowest, result({"c": 2}, seconds=70.0)]
    assert seconds_left(flat, Rest([{"c": 8}]), "c") == pytest.approx(70.0)  # never longer than that
    around = [*slowest, result({"c": 16}, seconds=4.0)]
    assert seconds_left(around, Rest([{"c": 4}]), "c") == pytest.approx(16.0)


@given(
    st.dictionaries(st.integers(1, 512), st.floats(0.001, 1000), min_size=1, max_size=6),
    st.lists(st.integers(1, 512), max_size=6),
)
def test_no_estimate_is_beyond_its_bounds(measured: dict[int, float], loads: list[int]) -> None:
    done = [result({"c": load}, seconds=seconds) for load, seconds in measured.items()]
    found = seconds_left(done, Rest([{"c": load} for load in loads]), "c")
    assert found is not None
    least, most = min(measured.values()), max(measured.values())
    at_most = [most * max(1.0, max(measured) / load) for load in loads]
    at_least = [least * min(1.0, min(measured) / load) for load in loads]
    assert sum(at_least) * 0.999 <= found <= sum(at_most) * 1.001
