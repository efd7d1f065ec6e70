"""Dealing: each point is measured once, an engine's points stay together, and a lost worker's go to another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.sweep.dealing import MOST_LOSSES, Dealing

GROUPS = [[(group, place) for place in range(3)] for group in range(4)]


def test_a_worker_takes_a_whole_group() -> None:
    dealing = Dealing(GROUPS)
    for place in range(3):
        for worker in (1, 2):
            assert dealing.next(worker) == (worker - 1, place)
        for worker in (2, 1):
            assert dealing.finished(worker, (worker - 1, place))
    assert dealing.next(2) == (2, 0)


def test_who_finds_no_group_gets_nothing() -> None:
    dealing = Dealing(GROUPS[:1])
    assert dealing.next(1) == (0, 0)
    assert dealing.next(2) is None
    assert dealing.left == [(0, 0), (0, 1), (0, 2)]


def test_the_rest_of_a_lost_worker_comes_next_with_its_point_first() -> None:
    dealing = Dealing(GROUPS)
    dealing.next(1)
    dealing.finished(1, (0, 0))
    dealing.next(1)
    assert dealing.lost(1) is None
    assert [dealing.next(2), dealing.finished(2, (0, 1)), dealing.next(2)] == [(0, 1), True, (0, 2)]


def test_a_point_that_ends_its_workers_is_given_up_and_the_rest_is_measured() -> None:
    dealing = Dealing(GROUPS[:1])
    given_up = []
    for worker in range(MOST_LOSSES):
        assert dealing.next(worker) == (0, 0)
        given_up.append(dealing.lost(worker))
    assert given_up == [None] * (MOST_LOSSES - 1) + [(0, 0)]
    assert dealing.next(9) == (0, 1)


def test_a_worker_that_withdraws_does_not_blame_its_point() -> None:
    dealing = Dealing(GROUPS[:1])
    for worker in range(MOST_LOSSES + 2):
        assert dealing.next(worker) == (0, 0)
        assert dealing.lost(worker, blamed=False) is None


def test_what_a_worker_was_not_given_does_not_count() -> None:
    dealing = Dealing(GROUPS)
    dealing.next(1)
    assert not dealing.finished(1, (0, 1))
    assert not dealing.finished(2, (0, 0))
    assert dealing.finished(1, (0, 0))
    assert not dealing.finished(1, (0, 0))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 4), st.data())
def test_every_point_is_finished_once_or_given_up_whatever_is_lost(
    sizes: list[int], workers: int, data: st.DataObject
) -> None:
    dealing = Dealing([[(group, place) for place in range(size)] for group, size in enumerate(sizes)])
    hands: dict[int, tuple[int, int]] = {}
    losses: dict[tuple[int, int], int] = {}
    finished, given_up, starts = [], [], {group: set[int]() for group in range(len(sizes))}
    fresh = workers
    crew = list(range(workers))
    while not dealing.over:
        for worker in crew:
            if worker not in hands and (item := dealing.next(worker)) is not None:
                hands[worker] = item
                starts[item[0]].add(worker)
        worker = data.draw(st.sampled_from(sorted(hands)))
        item = hands.pop(worker)
        if data.draw(st.booleans()):
            assert dealing.finished(worker, item)
            finished.append(item)
            continue
        losses[item] = losses.get(item, 0) + 1
        if (gone := dealing.lost(worker)) is not None:
            given_up.append(gone)
        crew[crew.index(worker)], fresh = fresh, fresh + 1
    assert sorted(finished + given_up) == [(group, place) for group, size in enumerate(sizes) for place in range(size)]
    assert all(losses[item] == MOST_LOSSES for item in given_up)
    for group, seen in starts.items():
        assert len(seen) <= 1 + sum(count for item, count in losses.items() if item[0] == group)
