"""When calls are due: schedules, places, and turns that follow each other."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.loadgen.job import Api, Call
from pytest_vllmperf.loadgen.pacing import ClosedLoop, OpenLoop, Pacing

START = 1_000


def calls(*due: int | None) -> list[Call]:
    return [Call(index, b"", b"", Api.CHAT, due_ns=at) for index, at in enumerate(due)]


def following(call: Call, after: int) -> Call:
    return replace(call, after=after)


def taken(pacing: Pacing, now: int) -> list[tuple[int, int]]:
    """(due, index) of all that is due by now."""
    found = []
    while (due := pacing.take(now)) is not None:
        found.append((due[0], due[1].index))
    return found


def test_an_open_loop_gives_out_calls_when_they_are_due_whatever_has_ended() -> None:
    pacing = OpenLoop(calls(0, 10, 10, 50), START)
    assert pacing.wake() == 1_000
    assert taken(pacing, 1_009) == [(1_000, 0)]
    assert pacing.wake() == 1_010
    assert taken(pacing, 1_060) == [(1_010, 1), (1_010, 2), (1_050, 3)]
    assert pacing.wake() is None


def test_a_turn_of_an_open_loop_is_due_at_its_time_or_when_the_one_before_has_ended() -> None:
    all_of_them = calls(0, 10, 20)
    all_of_them[1:] = [following(all_of_them[1], 0), following(all_of_them[2], 1)]
    pacing = OpenLoop(all_of_them, START)
    assert taken(pacing, 5_000) == [(1_000, 0)]
    pacing.ended(all_of_them[0], 1_004)
    assert taken(pacing, 1_009) == []
    assert taken(pacing, 1_010) == [(1_010, 1)]
    pacing.ended(all_of_them[1], 1_900)
    assert taken(pacing, 2_000) == [(1_900, 2)]


def test_what_is_due_after_the_budget_of_time_is_not_sent() -> None:
    pacing = OpenLoop(calls(0, 10, 11), START, START + 10)
    assert taken(pacing, 9_000) == [(1_000, 0), (1_010, 1)]
    assert pacing.wake() is None


def test_a_slow_server_does_not_get_away_with_less_work() -> None:
    all_of_them = calls(0, 10, 11)
    all_of_them[1:] = [following(call, 0) for call in all_of_them[1:]]
    pacing = OpenLoop(all_of_them, START, START + 10)
    assert taken(pacing, 1_000) == [(1_000, 0)]
    pacing.ended(all_of_them[0], 7_000)
    assert taken(pacing, 8_000) == [(7_000, 1)], "by the schedule it was within the budget, the last one is not"


def test_calls_that_were_due_and_wait_for_their_turn_are_known() -> None:
    all_of_them = calls(0, 10, 20, 90)
    all_of_them[1:] = [following(call, 0) for call in all_of_them[1:]]
    pacing = OpenLoop(all_of_them, START)
    taken(pacing, 1_000)
    assert [(due, call.index) for due, call in pacing.waiting(1_050)] == [(1_010, 1), (1_020, 2)]


def test_a_closed_loop_fills_its_places_and_then_waits_for_an_end() -> None:
    all_of_them = calls(*[None] * 4)
    pacing = ClosedLoop(all_of_them, 2, START)
    assert taken(pacing, 1_500) == [(1_000, 0), (1_000, 1)]
    assert pacing.wake() is None
    pacing.ended(all_of_them[1], 1_700)
    assert pacing.wake() == 1_700
    assert taken(pacing, 1_800) == [(1_700, 2)]


def test_a_turn_of_a_closed_loop_goes_before_later_calls_once_the_one_before_has_ended() -> None:
    all_of_them = calls(*[None] * 4)
    all_of_them[1] = following(all_of_them[1], 0)
    pacing = ClosedLoop(all_of_them, 1, START)
    assert taken(pacing, 1_000) == [(1_000, 0)]
    pacing.ended(all_of_them[0], 1_100)
    assert taken(pacing, 1_100) == [(1_100, 1)]
    pacing.ended(all_of_them[1], 1_200)
    assert taken(pacing, 1_200) == [(1_200, 2)]


def test_a_place_that_finds_nothing_to_send_is_filled_when_something_can_be_sent() -> None:
    all_of_them = calls(*[None] * 3)
    all_of_them[1:] = [following(call, 0) for call in all_of_them[1:]]
    pacing = ClosedLoop(all_of_them, 2, START)
    assert taken(pacing, 1_000) == [(1_000, 0)]
    assert pacing.wake() is None
    pacing.ended(all_of_them[0], 1_300)
    assert taken(pacing, 1_300) == [(1_300, 1), (1_300, 2)]


def test_a_closed_loop_takes_nothing_after_the_budget_of_time() -> None:
    all_of_them = calls(None, None)
    pacing = ClosedLoop(all_of_them, 1, START, START + 100)
    taken(pacing, 1_000)
    pacing.ended(all_of_them[0], 1_101)
    assert pacing.wake() is None
    assert taken(pacing, 1_200) == []
