"""What is sent when, and on which connection: a share of a job in this process, against the scripted server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_vllmperf.loadgen import audit, process
from pytest_vllmperf.loadgen.connection import Connection, Owner
from pytest_vllmperf.loadgen.job import Limits
from pytest_vllmperf.loadgen.opening import Opener
from pytest_vllmperf.records.answers import Answer
from tests.loadgen.scripted import Scripted, Seen, call, send

MS = 1_000_000


def most_in_flight(seen: Seen) -> int:
    answers = [Answer(one.index, one.due_ns, one.sent_ns, end_ns=one.end_ns) for one in seen.exchanges.values()]
    return max(count for _, count in audit.in_flight(answers))


def test_keeps_all_bytes_of_every_answer_with_the_times_at_which_they_came(scripted: Scripted) -> None:
    seen = send(scripted.server, [call(n, {"ttft": 0.005, "gap": 0.002}, tokens=6) for n in range(3)], concurrency=3)
    told = scripted.told()["requests"]
    for index, exchange in seen.exchanges.items():
        assert seen.body(index).count(b'"text"') == 6
        assert seen.body(index).endswith(b"0\r\n\r\n")
        times = [at for at, _ in exchange.pieces]
        assert times == sorted(times)
        assert exchange.end_ns == times[-1]
        assert exchange.sent_ns is not None
        assert exchange.sent_ns < told[str(index)]["arrived"]
        assert times[0] > told[str(index)]["sent"][0]


def test_a_closed_loop_has_as_many_under_way_as_it_has_places(scripted: Scripted) -> None:
    seen = send(scripted.server, [call(n, {"ttft": 0.02}) for n in range(12)], concurrency=4)
    assert seen.failures == [""] * 12
    assert most_in_flight(seen) == 4


def test_in_a_closed_loop_a_call_is_due_when_another_has_ended(scripted: Scripted) -> None:
    seen = send(scripted.server, [call(n) for n in range(4)], concurrency=1)
    ends = [seen.start_ns, *(seen.exchanges[n].end_ns for n in range(3))]
    assert [seen.exchanges[n].due_ns for n in range(4)] == ends


def test_a_slow_server_shifts_no_schedule(scripted: Scripted) -> None:
    calls = [call(n, {"ttft": 0.2}, due_ns=n * 10 * MS) for n in range(10)]
    seen = send(scripted.server, calls)
    assert [seen.exchanges[n].due_ns - seen.start_ns for n in range(10)] == [n * 10 * MS for n in range(10)]
    assert max(one.sent_ns or 0 for one in seen.exchanges.values()) < min(one.end_ns for one in seen.exchanges.values())
    assert len(seen.lags_ns) == 10
    assert all(lag >= 0 for lag in seen.lags_ns)


def test_a_turn_is_sent_when_the_one_before_has_ended(scripted: Scripted) -> None:
    calls = [call(0, {"ttft": 0.05}, due_ns=0), call(1, due_ns=MS, after=0), call(2, due_ns=100 * MS, after=1)]
    seen = send(scripted.server, calls)
    assert seen.exchanges[1].due_ns == seen.exchanges[0].end_ns
    assert seen.exchanges[2].due_ns == seen.start_ns + 100 * MS


def test_connections_are_used_again(scripted: Scripted) -> None:
    before = scripted.told()["connections"]
    send(scripted.server, [call(n) for n in range(20)], concurrency=2)
    assert scripted.told()["connections"] - before - 1 == 2  # the question before has a connection of its own


def test_or_each_request_has_its_own_and_closes_it(scripted: Scripted) -> None:
    before = scripted.told()["connections"]
    seen = send(scripted.server, [call(n) for n in range(20)], concurrency=2, keep_alive=False)
    assert seen.failures == [""] * 20
    assert scripted.told()["connections"] - before - 1 == 20


@pytest.mark.parametrize("script", [{"keep": False}, {"framing": "close"}])
def test_a_connection_that_the_server_closes_is_not_used_again(scripted: Scripted, script: dict[str, Any]) -> None:
    before = scripted.told()["connections"]
    seen = send(scripted.server, [call(n, script) for n in range(5)], concurrency=1)
    assert seen.failures == [""] * 5
    assert seen.notes == []
    assert scripted.told()["connections"] - before - 1 == 5


def test_a_request_on_a_connection_that_the_server_had_closed_is_sent_again_once(scripted: Scripted) -> None:
    calls = [call(0, {"fault": "close-idle"}), call(1), call(2, {"fault": "close-idle"}), call(3)]
    seen = send(scripted.server, calls, concurrency=1)
    assert seen.failures == [""] * 4
    assert len(seen.lags_ns) == 4
    assert seen.notes in (
        [],  # the end of the connection was seen before the next request was sent
        *([f"requests sent again because the server had closed their idle connection: {n}"] for n in (1, 2)),
    )


def test_a_server_that_never_answers_on_a_used_connection_is_asked_twice_and_no_more(scripted: Scripted) -> None:
    seen = send(scripted.server, [call(0), call(1, {"fault": "no-answer"}), call(2)], concurrency=1)
    assert seen.failures == ["", "cut", ""]
    assert seen.exchanges[1].detail == "the connection ended without an answer"
    assert seen.notes == ["requests sent again because the server had closed their idle connection: 1"]


def test_what_is_due_after_the_budget_of_time_is_not_sent(scripted: Scripted) -> None:
    calls = [call(n, due_ns=n * 20 * MS) for n in range(6)]
    seen = send(scripted.server, calls, limits=Limits(send_for=0.05))
    assert sorted(seen.exchanges) == [0, 1, 2]
    assert seen.failures == [""] * 3
    assert seen.notes == ["requests not sent because the run ended before they were due: 3"]


def test_a_budget_of_time_lets_what_is_under_way_end(scripted: Scripted) -> None:
    calls = [call(n, {"ttft": 0.15}) for n in range(4)]
    seen = send(scripted.server, calls, concurrency=1, limits=Limits(send_for=0.1))
    assert sorted(seen.exchanges) == [0]
    assert seen.failures == [""]


def test_a_large_request_is_sent_whole(scripted: Scripted) -> None:
    seen = send(scripted.server, [call(0, extra={"ignored": "x" * 30_000_000})], concurrency=1)
    assert seen.failures == [""]


def test_no_calls_end_at_once(scripted: Scripted) -> None:
    assert send(scripted.server, []).exchanges == {}


class SlowOpener(Opener):
    """Takes its time for each connection, as a server that is far away does."""

    async def open(self, owner: Owner) -> Connection:
        await asyncio.sleep(0.05)
        return await super().open(owner)


def test_the_opening_of_a_connection_is_no_lag_of_the_client(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "Opener", SlowOpener)
    seen = send(scripted.server, [call(0, due_ns=0)])
    exchange = seen.exchanges[0]
    assert (exchange.sent_ns or 0) - exchange.due_ns - seen.lags_ns[0] >= 45 * MS  # of 50 that it sleeps


def test_a_closed_loop_never_waits_for_its_connections(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "Opener", SlowOpener)
    seen = send(scripted.server, [call(number) for number in range(6)], concurrency=3)
    # Lags stand in the order in which requests were sent, which is not always the order in which they were due.
    in_order = sorted(seen.exchanges.values(), key=lambda one: one.sent_ns or 0)
    waits = [(one.sent_ns or 0) - one.due_ns for one in in_order]
    assert waits == seen.lags_ns, "a connection was opened between due and sent"
