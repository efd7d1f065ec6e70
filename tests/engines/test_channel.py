"""The line protocol over real pipes."""

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.engines.channel import Channel, ChannelClosed, ChannelTimeout
from tests.faults import many_open_files

relaxed = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


class Pipes:
    """A channel and the ends that its child would hold."""

    def __init__(self) -> None:
        self.child_read, parent_write = os.pipe()
        parent_read, self.child_write = os.pipe()
        self.channel = Channel(parent_read, parent_write)
        self.open = {self.child_read, self.child_write}

    def say(self, data: bytes) -> None:
        os.write(self.child_write, data)

    def close(self, fd: int) -> None:
        self.open.discard(fd)
        os.close(fd)

    def end(self) -> None:
        self.channel.close()
        for fd in tuple(self.open):
            self.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.end()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
messages = st.dictionaries(text, st.none() | st.booleans() | st.integers() | text | st.lists(text, max_size=3))


@relaxed
@given(st.lists(messages, min_size=1, max_size=5), st.integers(1, 30))
def test_messages_come_whole_and_in_order_however_they_are_cut(sent: list[dict[str, Any]], size: int) -> None:
    pipes = Pipes()
    data = b"".join(json.dumps(message).encode() + b"\n" for message in sent)

    def speak() -> None:
        for start in range(0, len(data), size):
            pipes.say(data[start : start + size])

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        assert [pipes.channel.receive(30) for _ in sent] == sent
    finally:
        speaker.join()
        pipes.end()


@relaxed
@given(messages)
def test_a_message_is_sent_as_one_line(message: dict[str, Any]) -> None:
    pipes = Pipes()
    try:
        pipes.channel.send(message, 30)
        line = os.read(pipes.child_read, 1 << 16)
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert json.loads(line) == message
    finally:
        pipes.end()


def test_a_message_larger_than_the_pipe_arrives_whole(pipes: Pipes) -> None:
    large = {"ids": list(range(100_000))}
    got: list[bytes] = []

    def listen() -> None:
        with os.fdopen(os.dup(pipes.child_read), "rb") as incoming:
            got.append(incoming.readline())

    listener = threading.Thread(target=listen)
    listener.start()
    pipes.channel.send(large, 30)
    listener.join()
    assert json.loads(got[0]) == large


def test_silence_is_a_time_out(pipes: Pipes) -> None:
    with pytest.raises(ChannelTimeout):
        pipes.channel.receive(0.02)


def test_half_a_message_is_silence_and_is_kept(pipes: Pipes) -> None:
    pipes.say(b'{"a":')
    with pytest.raises(ChannelTimeout):
        pipes.channel.receive(0.02)
    pipes.say(b"1}\n")
    assert pipes.channel.receive(30) == {"a": 1}


LARGE = {"ids": list(range(100_000))}
"""More than a pipe holds."""


def test_a_message_that_nobody_reads_is_a_time_out(pipes: Pipes) -> None:
    with pytest.raises(ChannelTimeout):
        pipes.channel.send(LARGE, 0.02)


def test_waiting_to_send_is_told_and_bounded(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.engines.channel.TICK_S", 0.001)
    ticks: list[float] = []
    with pytest.raises(ChannelTimeout):
        pipes.channel.ask(LARGE, 0.02, ticks.append)
    assert ticks  # whoever waits is informed while a message is sent, too


def test_a_message_without_answer_is_a_time_out(pipes: Pipes) -> None:
    with pytest.raises(ChannelTimeout):
        pipes.channel.ask({"op": "run"}, 0.02)
    assert os.read(pipes.child_read, 100) == b'{"op":"run"}\n'


def test_descriptors_above_those_that_select_takes(pipes: Pipes) -> None:
    with many_open_files():
        high = Pipes()
        assert high.child_read > 1024
        high.say(b'{"a":1}\n')
        assert high.channel.ask({}, 30) == {"a": 1}
        high.end()


def test_somebody_waiting_is_told_and_may_give_up(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.engines.channel.TICK_S", 0.001)
    ticks: list[float] = []

    def tick(waited: float) -> None:
        ticks.append(waited)
        if len(ticks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipes.channel.receive(30, tick)
    assert ticks == sorted(ticks)
    assert ticks[0] > 0


def test_the_end_of_the_other_side_is_told(pipes: Pipes) -> None:
    pipes.say(b'{"a": 1}\n{"cut')
    pipes.close(pipes.child_write)
    assert pipes.channel.receive(30) == {"a": 1}
    with pytest.raises(ChannelClosed):
        pipes.channel.receive(30)


def test_nobody_listening_is_told(pipes: Pipes) -> None:
    pipes.close(pipes.child_read)
    with pytest.raises(ChannelClosed):
        pipes.channel.send({"op": "run"}, 30)


def test_close_ends_the_childs_input_and_may_be_repeated(pipes: Pipes) -> None:
    pipes.channel.close()
    pipes.channel.close()
    assert os.read(pipes.child_read, 10) == b""
