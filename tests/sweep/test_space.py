"""Points of a space, and how many there are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.sweep.space import GRID, ONE_AT_A_TIME, Axis, Point, Space

values = st.lists(st.one_of(st.integers(-9, 9), st.text(max_size=3)), min_size=1, max_size=4, unique_by=json.dumps)
axes = st.lists(values, min_size=1, max_size=4).map(
    lambda lists: tuple(Axis(f"a{number}", tuple(one)) for number, one in enumerate(lists))
)


@given(axes, st.sampled_from([GRID, ONE_AT_A_TIME]))
def test_points_are_as_many_as_told_and_all_different(found: tuple[Axis, ...], mode: str) -> None:
    space = Space(found, mode)
    points = list(space.points({}))
    assert len(points) == len(set(points)) == space.count


@given(axes, st.data())
def test_stages_measure_as_many_as_told_whatever_is_best(found: tuple[Axis, ...], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from([axis.name for axis in found]), unique=True, min_size=1))
    space = Space(found, stages=tuple(names))
    done: set[Point] = set()
    best: dict[str, Any] = {}
    for name in names:
        done |= set(space.points(best))
        best[name] = data.draw(st.sampled_from(next(list(axis.values) for axis in found if axis.name == name)))
    assert len(done) == space.count


def test_one_at_a_time_varies_one_axis_from_the_first_values() -> None:
    space = Space((Axis("a", (1, 2)), Axis("b", ("x", "y"))), ONE_AT_A_TIME)
    assert [point.values for point in space.points({})] == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 1, "b": "y"}]


def test_a_stage_fixes_what_was_best_and_keeps_later_stages_at_their_first() -> None:
    space = Space((Axis("t", (1, 2)), Axis("s", (8, 9)), Axis("c", (4, 5))), stages=("t", "s"))
    first = [tuple(point.values.values()) for point in space.points({})]
    assert first == [(1, 8, 4), (1, 8, 5), (2, 8, 4), (2, 8, 5)]
    assert {point.values["t"] for point in space.points({"t": 2})} == {2}
    assert {point.values["s"] for point in space.points({"t": 2})} == {8, 9}


def test_a_point_is_the_same_after_it_was_stored() -> None:
    values = {"rate": 2.0, "speculative_config": {"b": 1.0, "a": [3.0, 0.5]}}
    assert Point.of(values) == Point.of({"rate": 2, "speculative_config": {"a": [3, 0.5], "b": 1}})
    assert Point.of({"flag": True}) != Point.of({"flag": 1})
