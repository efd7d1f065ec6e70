"""`read`: what an answer is made of, by its definitions, however its bytes were split."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.loadgen.job import Api
from pytest_vllmperf.loadgen.reading import read
from tests.loadgen import wire
from tests.loadgen.wire import answer, chat_event, chunked, text_event, usage_event

relaxed = settings(max_examples=80)
SPOKEN = [" Once", " upon", " a caf\u00e9", "\n", ' "', " \U0001d11e", " time"]
ROLE = chat_event({"role": "assistant", "content": ""})
END = [chat_event({}, finish_reason="stop"), wire.DONE]


def chat(*parts: bytes) -> Any:
    """The answer to a chat whose head came at 1000 and whose events came 10 ns apart, from 1010 on."""
    pieces = [b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, *END)]
    opening = wire.head(200, {**wire.STREAM_TYPE, "Transfer-Encoding": "chunked"})
    return answer([opening, *pieces, b"0\r\n\r\n"], wire.call(Api.CHAT))


def test_a_stream_is_read_with_its_times() -> None:
    events = wire.completion(SPOKEN)
    opening = wire.head(200, {**wire.STREAM_TYPE, "Transfer-Encoding": "chunked"})
    seen = answer([opening, *(b"%x\r\n%b\r\n" % (len(part), part) for part in events), b"0\r\n\r\n"])
    assert (seen.failure, seen.detail, seen.status, seen.index) == ("", "", 200, 3)
    assert seen.text == "".join(SPOKEN)
    assert (seen.due_ns, seen.sent_ns, seen.first_ns, seen.first_answer_ns) == (500, 600, 1010, 1010)
    assert seen.last_ns == 1010 + 10 * (len(SPOKEN) - 1)
    assert seen.end_ns == 1010 + 10 * len(events)
    assert list(seen.gaps_ns) == [10] * (len(SPOKEN) - 1)
    assert list(seen.piece_tokens) == [1] * len(SPOKEN)
    assert (seen.prompt_tokens, seen.output_tokens, seen.finish_reason) == (7, len(SPOKEN), "length")
    assert seen.retry_after is None
    assert seen.tool_calls == ()


def test_an_event_has_the_time_of_the_piece_that_completed_it() -> None:
    data = chunked(wire.completion([" a\u00e9"]))
    place = data.index("\u00e9".encode()) + 1  # within the character
    end = data.index(b"\n\n", place) + 1  # between the two line ends of the event
    seen = answer([data[:place], data[place:end], data[end:]])
    assert seen.first_ns == 1020
    assert seen.text == " a\u00e9"


def test_the_role_chunk_is_no_token() -> None:
    seen = chat(ROLE, chat_event({"content": "Hi"}))
    assert seen.first_ns == 1020
    assert list(seen.gaps_ns) == []


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_ends_the_time_to_first_token_and_is_told_apart(field: str) -> None:
    seen = chat(ROLE, chat_event({field: "Hm"}), chat_event({field: "m"}), chat_event({"content": "Hi"}))
    assert (seen.first_ns, seen.first_answer_ns, seen.last_ns) == (1020, 1040, 1040)
    assert seen.text == "Hi"
    assert list(seen.gaps_ns) == [10, 10]


def test_reasoning_alone_has_no_answer() -> None:
    seen = chat(ROLE, chat_event({"reasoning": "Hm"}))
    assert (seen.failure, seen.first_ns, seen.first_answer_ns) == ("", 1020, None)


def test_arguments_of_a_tool_call_are_content_its_name_is_not() -> None:
    def tool(index: int, arguments: str) -> bytes:
        return chat_event({"tool_calls": [{"index": index, "function": {"name": "f", "arguments": arguments}}]})

    seen = chat(ROLE, tool(0, ""), tool(0, '{"a"'), tool(0, ": 1}"), tool(1, "{}"))
    assert seen.first_ns == seen.first_answer_ns == 1030
    assert seen.tool_calls == ('{"a": 1}', "{}")
    assert len(seen.gaps_ns) == 2


def test_token_ids_whose_text_is_held_back_are_content() -> None:
    events = [text_event("", token_ids=[5]), text_event(" \u00e9", token_ids=[6, 7]), text_event("", token_ids=[])]
    opening = wire.head(200, {**wire.STREAM_TYPE, "Connection": "close"})
    seen = answer([opening, *events, text_event("", finish_reason="stop"), wire.DONE])
    assert seen.first_ns == seen.first_answer_ns == 1010
    assert seen.last_ns == 1020
    assert seen.output_tokens == 3
    assert list(seen.piece_tokens) == [1, 2]


def test_token_ids_without_text_are_no_answer_where_reasoning_follows() -> None:
    seen = chat(ROLE, chat_event({}, token_ids=[1]), chat_event({"reasoning": "Hm"}), chat_event({"content": "Hi"}))
    assert (seen.first_ns, seen.first_answer_ns) == (1020, 1040)


def test_continuous_usage_tells_the_tokens_of_each_piece() -> None:
    def piece(text: str, total: int) -> bytes:
        return wire.event({"choices": [{"index": 0, "text": text}], "usage": {"completion_tokens": total}})

    end = text_event("", finish_reason="length")
    seen = answer(chunked([piece(" a", 1), piece(" b c d", 4), piece(" e f", 6), end, usage_event(7), wire.DONE]))
    assert list(seen.piece_tokens) == [1, 3, 2]
    assert seen.output_tokens == 7


def test_pieces_of_several_tokens_have_no_counts_without_usage_for_each() -> None:
    events = [text_event(" a b"), text_event(" c"), text_event("", finish_reason="length"), usage_event(3), wire.DONE]
    seen = answer(chunked(events))
    assert seen.output_tokens == 3
    assert list(seen.piece_tokens) == []


def test_no_usage_is_no_failure() -> None:
    seen = answer(chunked([text_event(" a"), text_event("", finish_reason="stop"), wire.DONE]))
    assert (seen.failure, seen.output_tokens, seen.prompt_tokens) == ("", None, None)
    assert list(seen.piece_tokens) == []


def test_details_of_usage_and_metrics_of_the_request() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    metrics = {"time_to_first_token_ms": 40.0, "queue_time_ms": 10.0, "speculative_decoding": None}
    last = wire.event({"choices": [], "usage": usage, "metrics": metrics})
    seen = answer(chunked([text_event(" a", finish_reason="stop"), last, wire.DONE]))
    assert (seen.prompt_tokens, seen.cached_tokens, seen.output_tokens, seen.reasoning_tokens) == (9, 8, 1, 0)
    assert seen.server_ttft == pytest.approx(0.05)


def test_a_whole_answer_arrives_at_once() -> None:
    message = {"content": "Hi", "reasoning": "Hm", "tool_calls": [{"function": {"arguments": "{}"}}]}
    body = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 6},
        "metrics": {"time_to_first_token_ms": 20},
    }
    data = wire.sized(wire.json.dumps(body).encode())
    place = data.index(b"Hi")
    seen = answer([data[:place], data[place:]], wire.call(Api.CHAT, stream=False))
    assert (seen.failure, seen.first_ns, seen.first_answer_ns, seen.last_ns) == ("", 1010, 1010, 1010)
    assert (list(seen.gaps_ns), list(seen.piece_tokens)) == ([], [6])
    assert (seen.text, seen.tool_calls, seen.finish_reason, seen.server_ttft) == ("Hi", ("{}",), "stop", 0.02)


def test_texts_are_kept_where_asked_only() -> None:
    data = chunked(wire.completion(SPOKEN))
    assert answer(data, wire.call(keep=False)).text is None
    assert answer(data, wire.call(keep=True)).text == "".join(SPOKEN)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_packed_streams_keep_the_times_of_their_pieces(coding: str) -> None:
    bits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[coding]
    packer = zlib.compressobj(wbits=bits)
    packed = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in wire.completion(SPOKEN)]
    packed.append(packer.flush())
    headers = {**wire.STREAM_TYPE, "Content-Encoding": coding.split()[-1], "Connection": "close"}
    seen = answer([wire.head(200, headers), *packed])
    assert (seen.failure, seen.text, seen.first_ns) == ("", "".join(SPOKEN), 1010)
    assert list(seen.gaps_ns) == [10] * (len(SPOKEN) - 1)


@relaxed
@given(data=st.data(), texts=st.lists(st.text(max_size=5), max_size=8), ends=st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_split_gives_the_same_answer_but_for_times(data: st.DataObject, texts: list[str], ends: str) -> None:
    parts = [part.replace(b"\n", ends.encode()) for part in wire.completion(texts)]
    coding = data.draw(st.sampled_from(["chunked", "gzip", "close"]))
    if coding == "chunked":
        whole = chunked(parts)
    elif coding == "gzip":
        whole = wire.sized(gzip.compress(b"".join(parts)), {**wire.STREAM_TYPE, "Content-Encoding": "gzip"})
    else:
        whole = wire.head(200, wire.STREAM_TYPE) + b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=30))
    expected = answer(whole)
    assert expected.text == "".join(texts)
    assert expected.failure == ("" if "".join(texts) else "empty")
    for pieces in (wire.split(whole, cuts), wire.split(whole, range(len(whole)))):
        assert wire.timeless(answer(pieces)) == wire.timeless(expected)


@relaxed
@given(st.lists(st.binary(max_size=40), max_size=10), st.booleans(), st.sampled_from(list(Api)))
def test_any_bytes_are_an_answer(parts: list[bytes], stream: bool, api: Api) -> None:
    to = wire.call(api, stream=stream)
    assert answer(parts, to).failure in ("cut", "malformed", "empty")
    headed = [wire.head(200, {"Connection": "close"}), *parts]
    assert answer(headed, to).failure in ("cut", "malformed", "error", "empty")


def test_a_large_event_in_single_bytes_is_read_in_linear_time() -> None:
    text = "x" * 2_000_000  # in quadratic time this takes hours
    whole = chunked([text_event(text, finish_reason="stop"), wire.DONE])
    seen = read(wire.call(), wire.exchange([(1, whole[place : place + 1]) for place in range(len(whole))]))
    assert (seen.failure, seen.text) == ("", text)


def test_a_large_head_in_single_bytes_is_read_in_linear_time() -> None:
    whole = wire.head(404, {"X-Long": "y" * 500_000, "Content-Length": "0"})
    seen = read(wire.call(), wire.exchange([(1, whole[place : place + 1]) for place in range(len(whole))]))
    assert (seen.failure, seen.status) == ("status", 404)
