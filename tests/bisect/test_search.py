"""The search: whatever is skipped or undecided, it ends with the first bad version, or a range that holds it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.bisect.search import bounds, following, steps_left
from pytest_vllmperf.records.bisect import Result

GOOD, BAD, SKIPPED = Result.GOOD, Result.BAD, Result.SKIPPED


def searched(last: int, first_bad: int, skips: set[int]) -> dict[int, Result]:
    """All that a search tries; the end is known to be bad."""
    found: dict[int, Result] = {last: BAD}
    while (place := following(found, last)) is not None:
        assert place not in found
        assert 0 < place < last
        found[place] = SKIPPED if place in skips else BAD if place >= first_bad else GOOD
    return found


@given(st.integers(1, 200).flatmap(lambda last: st.tuples(st.just(last), st.integers(1, last))))
def test_without_skips_the_first_bad_one_is_found_in_about_log2_steps(case: tuple[int, int]) -> None:
    last, first_bad = case
    found = searched(last, first_bad, set())
    assert bounds(found, last) == (first_bad - 1, first_bad)
    assert len(found) - 1 <= math.ceil(math.log2(last + 1))


@given(st.data())
def test_with_skips_the_range_holds_it_and_all_within_is_skipped(data: st.DataObject) -> None:
    last = data.draw(st.integers(1, 60))
    first_bad = data.draw(st.integers(1, last))
    skips = data.draw(st.sets(st.integers(1, max(1, last - 1))))
    good, bad = bounds(found := searched(last, first_bad, skips), last)
    assert good < first_bad <= bad
    assert all(found[place] is SKIPPED for place in range(good + 1, bad))
    assert good == max(place for place in range(first_bad) if place not in skips)
    assert bad == min(place for place in range(first_bad, last + 1) if place not in skips or place == last)


@given(st.integers(0, 10**6))
def test_noise_that_leaves_a_version_undecided_costs_a_range_and_never_a_wrong_answer(seed: int) -> None:
    """A run is undecided with probability 1/3, and repeated twice; then the version is skipped."""
    rng = random.Random(seed)
    last = rng.randrange(2, 60)
    first_bad = rng.randrange(1, last + 1)
    undecided = {place for place in range(1, last) if all(rng.random() < 1 / 3 for _ in range(3))}
    good, bad = bounds(searched(last, first_bad, undecided), last)
    assert good < first_bad <= bad
    assert set(range(good + 1, bad)) <= undecided


@settings(max_examples=50)
@given(st.integers(8, 120).flatmap(lambda last: st.tuples(st.just(last), st.integers(1, last))))
def test_a_block_of_skips_away_from_the_change_is_left_quickly(case: tuple[int, int]) -> None:
    """A quarter of all versions cannot be built, and lies in the middle: its edge is not searched one by one."""
    last, first_bad = case
    block = set(range(last // 2 - last // 8, last // 2 + last // 8 + 1)) - {last, 0}
    if first_bad in block or first_bad - 1 in block:
        return
    found = searched(last, first_bad, block)
    assert bounds(found, last) == (first_bad - 1, first_bad)
    assert len(found) - 1 <= 3 * math.ceil(math.log2(last + 1)) + 4


@pytest.mark.parametrize(
    ("results", "place"),
    [
        ({}, 4),
        ({8: BAD}, 4),
        ({4: GOOD}, 6),
        ({4: BAD}, 2),
        ({4: SKIPPED}, 3),
        ({4: SKIPPED, 3: SKIPPED}, 5),
        ({4: SKIPPED, 3: SKIPPED, 5: SKIPPED}, 2),
        ({4: SKIPPED, 3: SKIPPED, 5: SKIPPED, 2: SKIPPED}, 6),
        ({2: SKIPPED, 6: SKIPPED, 1: SKIPPED, 7: SKIPPED}, 4),
        ({4: GOOD, 5: BAD}, None),
        ({4: GOOD, 6: BAD, 5: SKIPPED}, None),
        ({2: BAD, 1: GOOD}, None),
    ],
)
def test_what_is_tried_next(results: dict[int, Result], place: int | None) -> None:
    assert following(results, 8) == place


def test_two_neighbours_need_no_step() -> None:
    assert following({}, 1) is None
    assert bounds({}, 1) == (0, 1)
    assert steps_left({}, 1) == 0


def test_a_good_one_behind_a_bad_one_does_not_move_the_bounds() -> None:
    assert bounds({3: BAD, 5: GOOD, 8: BAD}, 8) == (0, 3)


@pytest.mark.parametrize(("last", "steps"), [(2, 1), (4, 2), (8, 3), (9, 4), (128, 7)])
def test_steps_left(last: int, steps: int) -> None:
    assert steps_left({last: BAD}, last) == steps
