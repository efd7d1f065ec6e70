"""Other processes on a GPU: those that came during a span, and those that computed in it."""

from __future__ import annotations

import pytest

from pytest_vllmperf.metrics.gpu_use import SIGHTINGS, neighbours, newcomers
from tests.metrics.gpu_readings import WHOLE, series, trace

PROCESSES = series(
    processes=[None, {1: 10}, {1: 10, 2: 5}, {1: 10, 2: 9, 3: None}, {1: 99, 2: 7, 3: None, 4: None}, {1: 10, 4: 6}]
)


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ((0.0, 1.0), {}),  # what was there at first belongs
        ((0.0, 2.0), {2: 5}),
        ((0.0, 3.0), {2: 9, 3: None}),
        ((0.0, 9.0), {2: 9, 3: None, 4: 6}),  # the most that each held
        ((4.0, 4.0), {2: 7, 3: None, 4: None}),  # there since before the span, and still in the way
        ((5.0, 9.0), {4: 6}),  # gone by then
        ((0.0, 0.5), {}),
        ((7.0, 9.0), {}),
    ],
)
def test_newcomers(span: tuple[float, float], found: dict[int, int | None]) -> None:
    assert newcomers(PROCESSES, span) == found


def test_newcomers_where_nothing_is_told() -> None:
    assert newcomers(trace(), WHOLE) == {}
    assert newcomers(series(processes=[None, None]), WHOLE) == {}


def test_a_device_that_was_empty_at_first() -> None:
    assert newcomers(series(processes=[{}, {8: 1}]), WHOLE) == {8: 1}


ENGINE, WORKER, OTHER_PID, DESKTOP = 42, 43, 9, 7
USED = series(
    use_by_process=[
        {},
        {ENGINE: 0.9, OTHER_PID: 0.1},
        {WORKER: 0.5, OTHER_PID: 0.5},
        None,  # nothing new yet: the next one holds for both seconds
        {ENGINE: 0.2, OTHER_PID: 0.8},
        {ENGINE: 0.94, OTHER_PID: 0.05, DESKTOP: 0.01},
    ]
)


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ((0.0, 1.0), {OTHER_PID: 0.1}),
        ((0.0, 2.0), {OTHER_PID: 0.3}),
        ((0.5, 1.5), {OTHER_PID: 0.3}),
        ((1.5, 4.0), {OTHER_PID: (0.25 + 1.6) / 2.5}),
        ((3.0, 3.5), {OTHER_PID: 0.8}),
        ((0.0, 5.0), {OTHER_PID: (0.1 + 0.5 + 1.6 + 0.05) / 5}),  # one sighting of the desktop is none
        ((-9.0, 1.0), {OTHER_PID: 0.1}),
        ((4.5, 99.0), {OTHER_PID: 0.05}),
        ((5.0, 99.0), None),  # not read
        ((-9.0, 0.0), None),
    ],
)
def test_neighbours_by_hand(span: tuple[float, float], found: dict[int, float] | None) -> None:
    expected = None if found is None else {pid: pytest.approx(share) for pid, share in found.items()}
    assert neighbours(USED, span, {ENGINE, WORKER}) == expected


def test_the_largest_neighbour_comes_first_and_own_processes_are_none() -> None:
    told = series(use_by_process=[{}, *([{1: 0.1, 2: 0.3, 3: 0.2, ENGINE: 0.4}] * SIGHTINGS)])
    assert list((neighbours(told, WHOLE, {ENGINE}) or {}).items()) == [
        (2, pytest.approx(0.3)),
        (3, pytest.approx(0.2)),
        (1, pytest.approx(0.1)),
    ]
    assert neighbours(told, WHOLE, {ENGINE, 1, 2, 3, 4}) == {}


def test_neighbours_are_unknown_where_the_engine_bears_another_number() -> None:
    """As in a container, or under the multi-process service: then one of these is the engine."""
    assert neighbours(USED, WHOLE, {4711}) is None
    assert neighbours(USED, WHOLE, ()) is None


@pytest.mark.parametrize("told", [[None, None, None], [{}, None, None], [None, {}, None]])
def test_neighbours_are_unknown_where_nothing_is_told(told: list[dict[int, float] | None]) -> None:
    assert neighbours(series(use_by_process=told), WHOLE, {ENGINE}) is None


def test_an_engine_that_shows_without_any_use_of_its_own_is_known() -> None:
    told = series(use_by_process=[{}, {ENGINE: 0.0, 1: 0.6}, {1: 0.6}])
    assert neighbours(told, WHOLE, {ENGINE}) == {1: pytest.approx(0.6)}
