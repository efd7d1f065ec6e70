"""The load generator's own audit, on made answers."""

from __future__ import annotations

from array import array

import pytest

from pytest_vllmperf.loadgen import audit
from pytest_vllmperf.loadgen.job import Job, Server
from pytest_vllmperf.records.answers import Answer, ClientProcess

OPEN = Job(Server("localhost", 1), ())
CLOSED = Job(Server("localhost", 1), (), concurrency=4)


def answer(index: int, due: int, sent: int | None, end: int = 0) -> Answer:
    return Answer(index, due, sent, end_ns=end)


@pytest.mark.parametrize(
    ("values", "probability", "expected"),
    [
        ([], 0.5, 0),
        ([7], 0.99, 7),
        ([3, 1, 2], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 102)), 0.99, 100),
    ],
)
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values: list[int], probability: float, expected: int) -> None:
    assert audit.quantile_ns(values, probability) == expected


def test_rates_are_those_of_the_schedule_and_of_what_was_sent() -> None:
    answers = [
        answer(0, 0, 0),
        answer(1, 10**9, 2 * 10**9),
        answer(2, 2 * 10**9, 4 * 10**9),
        answer(3, 3 * 10**9, None),
    ]
    found = audit.audit(OPEN, answers, array("q", [1, 2, 100]), [ClientProcess(0.5, 9)])
    assert (found.wanted_rate, found.achieved_rate) == (1.0, 0.5)
    assert (found.lag_p50_ns, found.lag_p99_ns) == (2, 100)
    assert found.processes == (ClientProcess(0.5, 9),)


def test_a_closed_loop_has_no_rate() -> None:
    found = audit.audit(CLOSED, [answer(0, 0, 0), answer(1, 5, 7)], array("q"), [])
    assert (found.wanted_rate, found.achieved_rate) == (None, None)


def test_one_request_has_no_rate() -> None:
    assert audit.rates([answer(0, 0, 0)]) == (None, None)


def test_in_flight_changes_with_each_sending_and_end() -> None:
    answers = [answer(0, 0, 10, 30), answer(1, 0, 20, 40), answer(2, 30, 30, 50), answer(3, 0, None, 45)]
    assert audit.in_flight(answers) == ((10, 1), (20, 2), (40, 1), (50, 0))


def test_the_steady_window_is_from_when_the_places_are_full_until_they_last_were() -> None:
    changes = [(10, 1), (20, 20), (30, 18), (35, 19), (60, 18), (70, 0)]
    assert audit.steady(changes, 20) == (20, 60)
    assert audit.steady(changes, 19) == (20, 60)
    assert audit.steady(changes, None) is None


def test_a_loop_that_was_never_full_has_no_steady_window() -> None:
    assert audit.steady([(10, 18), (20, 0)], 20) is None
    assert audit.steady([], 1) is None
