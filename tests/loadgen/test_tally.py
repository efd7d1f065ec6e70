"""`Tally`: a stream whose tokens are recognized by their bytes adds up to what parsing each of them does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.loadgen import tally as tally_module
from pytest_vllmperf.loadgen.events import EventStream
from pytest_vllmperf.loadgen.job import Api
from pytest_vllmperf.loadgen.tally import Tally
from tests.loadgen import wire

KINDS: dict[str, Any] = {
    "content": lambda text: wire.chat_event({"content": text}),
    "reasoning": lambda text: wire.chat_event({"reasoning": text}),
    "ids": lambda text: wire.chat_event({"content": text}, token_ids=[1]),
    "split": lambda text: wire.chat_event({"content": text})[:-1],
    "rest": lambda text: b"\n",
    "comment": lambda text: b": ping\n\n",
}


def added(pieces: list[bytes]) -> tuple[Any, ...]:
    tally = Tally(Api.CHAT, keep=True)
    tally.read_stream(wire.timed(pieces), EventStream())
    return (
        list(tally.times),
        tally.text,
        tally.first_answer_ns,
        tally.reasoned,
        list(tally.piece_tokens()),
        bool(tally.unreadable),
    )


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(["a", "\u00e9", "\n", '"', ""])), max_size=20)
)
def test_shapes_change_nothing(tokens: list[tuple[str, str]]) -> None:
    pieces = [KINDS[kind](text) for kind, text in tokens]
    expected = added(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally_module, "shape_of", lambda *args, **more: None)
        assert added(pieces) == expected


def test_tokens_of_one_shape_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    original = tally_module.parse
    monkeypatch.setattr(tally_module, "parse", lambda data: parsed.append(data) or original(data))
    text = added([wire.chat_event({"content": f" {number}"}) for number in range(50)])[1]
    assert text == "".join(f" {number}" for number in range(50))
    assert len(parsed) == 1


def test_a_stream_of_ever_other_shapes_makes_few(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    original = tally_module.shape_of
    monkeypatch.setattr(
        tally_module, "shape_of", lambda piece, *args, **more: made.append(piece) or original(piece, *args, **more)
    )
    added([wire.event({"id": number, "choices": [{"delta": {"content": "a"}}]}) for number in range(50)])
    assert len(made) == 8


def test_usage_that_falls_does_not_tell_tokens() -> None:
    def piece(total: int) -> bytes:
        return wire.event({"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": total}})

    assert added([piece(1), piece(3)])[4] == [1, 2]
    assert added([piece(3), piece(1)])[4] == []


def test_nothing_is_read_behind_the_end() -> None:
    assert added([wire.chat_event({"content": "a"}), wire.DONE + wire.chat_event({"content": "b"}), b"data: {\n\n"])[
        1:6:4
    ] == ("a", False)
