"""Exchanges that wait to be read are bounded."""

from __future__ import annotations

from pytest_vllmperf.loadgen import wire
from pytest_vllmperf.loadgen.backlog import Backlog
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Api, Call
from pytest_vllmperf.records.answers import Answer


def kept(index: int, pieces: int) -> tuple[Call, Exchange]:
    return Call(index, b"", b"", Api.CHAT), Exchange(index, 0, pieces=[(0, b"x" * 100)] * pieces)


def answers(backlog: Backlog) -> list[int]:
    unpacker = wire.Unpacker()
    return [
        answer.index for data in backlog.frames() for frame in unpacker.feed(data) for answer in wire.answers_of(frame)
    ]


def test_is_over_its_budget_until_enough_has_been_read_the_oldest_first() -> None:
    read: list[int] = []

    def reader(call: Call, exchange: Exchange) -> Answer:
        read.append(call.index)
        return Answer(call.index, exchange.due_ns)

    backlog = Backlog(reader, 10_000)
    for index in range(4):
        assert not backlog.over
        backlog.add(*kept(index, 11))
    assert backlog.over
    backlog.read_one()
    assert (backlog.over, read) == (False, [0])
    assert answers(backlog) == [0, 1, 2, 3]
    assert read == [0, 1, 2, 3]


def test_gives_out_every_answer_once() -> None:
    backlog = Backlog(lambda call, exchange: Answer(call.index, 0), 0)
    for index in range(200):
        backlog.add(*kept(index, 1))
        if index % 3 == 0:
            backlog.read_one()
    assert answers(backlog) == list(range(200))
    assert answers(backlog) == []


def test_without_exchanges_there_is_nothing_to_give() -> None:
    assert answers(Backlog(lambda call, exchange: Answer(0, 0), 0)) == []
