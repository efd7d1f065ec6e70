"""The search for the largest value, against brute force, also where a try cannot be relied on."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.sweep.memory import Outcome, grid, largest

GROUPS = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)).filter(any)


def line(little: int, works: int, much: int) -> list[Outcome]:
    return [Outcome.TOO_LITTLE] * little + [Outcome.WORKS] * works + [Outcome.FAILED] * much


def brute_force(outcomes: list[Outcome]) -> int | None:
    return max((index for index, outcome in enumerate(outcomes) if outcome is Outcome.WORKS), default=None)


class Tries:
    """Answers as a line says, and remembers; the first answer of some candidates is another one."""

    def __init__(self, outcomes: list[Outcome], first: dict[int, Outcome] | None = None) -> None:
        self.outcomes, self.first = outcomes, dict(first or {})
        self.made: list[tuple[int, Outcome]] = []

    def __call__(self, index: int) -> Outcome:
        self.made.append((index, self.first.pop(index, self.outcomes[index])))
        return self.made[-1][1]

    def of(self, index: int) -> list[Outcome]:
        return [outcome for tried, outcome in self.made if tried == index]


@given(GROUPS)
def test_it_finds_what_brute_force_finds_and_both_sides_are_confirmed(groups: tuple[int, int, int]) -> None:
    tries = Tries(line(*groups))
    found = largest(len(tries.outcomes), tries)
    assert found == brute_force(tries.outcomes)
    if found is not None:
        assert tries.of(found).count(Outcome.WORKS) >= 2
        if found + 1 < len(tries.outcomes):
            assert tries.of(found + 1) == [Outcome.FAILED] * 2


@given(GROUPS)
def test_it_takes_no_more_tries_than_a_bisection(groups: tuple[int, int, int]) -> None:
    tries = Tries(line(*groups))
    largest(len(tries.outcomes), tries)
    assert len({index for index, _ in tries.made}) <= 2 + len(tries.outcomes).bit_length()
    assert max(Counter(index for index, _ in tries.made).values()) <= 2


@given(GROUPS, st.data())
def test_one_failure_by_chance_changes_nothing(groups: tuple[int, int, int], data: st.DataObject) -> None:
    outcomes = line(*groups)
    working = [index for index, outcome in enumerate(outcomes) if outcome is Outcome.WORKS]
    unlucky = data.draw(st.sets(st.sampled_from(working))) if working else set()
    tries = Tries(outcomes, dict.fromkeys(unlucky, Outcome.FAILED))
    assert largest(len(outcomes), tries) == brute_force(outcomes)


@given(GROUPS, st.data())
def test_one_success_by_chance_above_the_limit_is_found_out(groups: tuple[int, int, int], data: st.DataObject) -> None:
    outcomes = line(*groups)
    failing = [index for index, outcome in enumerate(outcomes) if outcome is Outcome.FAILED]
    lucky = data.draw(st.sets(st.sampled_from(failing))) if failing else set()
    found = largest(len(outcomes), Tries(outcomes, dict.fromkeys(lucky, Outcome.WORKS)))
    assert found is None or outcomes[found] is Outcome.WORKS


@given(GROUPS)
def test_a_lowest_that_is_known_to_work_is_not_tried_for_it(groups: tuple[int, int, int]) -> None:
    _, works, much = groups
    tries = Tries(line(0, works + 1, much))
    assert largest(len(tries.outcomes), tries, lowest_works=True) == works
    if works:
        assert tries.of(0) == []


def test_what_certainly_fails_is_tried_once() -> None:
    tries = Tries([Outcome.WORKS, Outcome.TOO_MUCH, Outcome.TOO_MUCH])
    assert largest(3, tries) == 0
    assert tries.of(2) == [Outcome.TOO_MUCH]


def test_without_confirmation_the_result_is_tried_once() -> None:
    tries = Tries(line(0, 1, 0))
    assert largest(1, tries, confirm=False) == 0
    assert len(tries.made) == 1


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (128, 512, 128, (128, 256, 384, 512)),
        (100, 300, 128, (100, 128, 256, 300)),
        (5, 5, 128, (5,)),
        (1, 3, 1, (1, 2, 3)),
    ],
)
def test_a_grid_has_both_bounds_and_the_multiples_between(
    low: int, high: int, step: int, values: tuple[int, ...]
) -> None:
    assert grid(low, high, step) == values
