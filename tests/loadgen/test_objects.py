"""OpenAI's objects: what is content, what is an error, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.loadgen.job import Api
from pytest_vllmperf.loadgen.objects import (
    UnreadableError,
    Usage,
    content_of,
    error_of,
    message_of,
    parse,
    server_ttft_of,
    usage_of,
)


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


@pytest.mark.parametrize(
    ("fields", "counts", "answer", "reasoning"),
    [
        ({"role": "assistant", "content": ""}, False, False, False),
        ({"role": "assistant", "content": None}, False, False, False),
        ({"content": "a"}, True, True, False),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}]}, True, True, False),
        ({"reasoning": "a"}, True, False, True),
        ({"reasoning_content": "a"}, True, False, True),
        ({"reasoning": "", "content": "a"}, True, True, False),
        ({"refusal": "no"}, True, True, False),
        ({"tool_calls": [{"function": {"name": "f"}}]}, False, False, False),
        ({"tool_calls": [{"function": {"arguments": "{"}}]}, True, True, False),
        ({"tool_calls": []}, False, False, False),
    ],
)
def test_what_counts_of_a_chat(fields: dict[str, Any], counts: bool, answer: bool, reasoning: bool) -> None:
    content = content_of(delta(**fields), Api.CHAT, "delta")
    assert content is not None
    assert (content.counts, content.answer, content.reasoning) == (counts, answer, reasoning)


def test_the_path_leads_to_a_text_that_is_all_there_is() -> None:
    def path(parsed: dict[str, Any]) -> tuple[str, ...] | None:
        content = content_of(parsed, Api.CHAT, "delta")
        assert content is not None
        return content.path

    assert path(delta(content="a")) == ("delta", "content")
    assert path(delta(reasoning="a")) == ("delta", "reasoning")
    more: list[dict[str, Any]] = [
        delta(content="a", reasoning="b"),
        delta(reasoning="a", reasoning_content="a"),
        delta(content="a", refusal="b"),
        delta(content="a", tool_calls=[{"function": {"arguments": "{"}}]),
        {**delta(content="a"), "usage": {"completion_tokens": 1}},
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"content": "a"}, "token_ids": [1]}]},
        {"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]},
    ]
    assert [path(parsed) for parsed in more] == [None] * len(more)


@pytest.mark.parametrize(
    "choices",
    [
        {"a": 1},
        "a",
        [1],
        [{"delta": "a"}],
        [{"delta": {"content": 5}}],
        [{"delta": {"tool_calls": {"a": 1}}}],
        [{"delta": {"tool_calls": [1]}}],
        [{"delta": {"tool_calls": [{"function": {"arguments": {"a": 1}}}]}}],
    ],
)
def test_choices_of_another_form_are_refused(choices: Any) -> None:
    with pytest.raises(UnreadableError):
        content_of({"choices": choices}, Api.CHAT, "delta")


@pytest.mark.parametrize("parsed", [{}, {"choices": []}, {"choices": None}])
def test_an_object_without_choices_has_no_content(parsed: dict[str, Any]) -> None:
    assert content_of(parsed, Api.COMPLETIONS, "delta") is None


@pytest.mark.parametrize(
    ("parsed", "error"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"error": {"code": 5}}, "an error without a message"),
        ({"object": "error", "message": "no"}, "no"),
        ({"error": None, "choices": []}, None),
        ({"object": "text_completion"}, None),
    ],
)
def test_errors(parsed: dict[str, Any], error: str | None) -> None:
    assert error_of(parsed) == error


@pytest.mark.parametrize("parsed", [[], {}, 5, None, [[[[["a"]]]]], {"detail": {"msg": {"error": {"message": {}}}}}])
def test_an_object_without_words(parsed: Any) -> None:
    assert message_of(parsed) == ""


def test_usage_of_odd_values() -> None:
    for nothing in (None, 5, [], {}):
        assert usage_of(nothing) == Usage(None, None, None, None)
    odd = {
        "prompt_tokens": -1,
        "completion_tokens": 2**70,
        "prompt_tokens_details": 5,
        "completion_tokens_details": None,
    }
    assert usage_of(odd) == Usage(None, None, None, None)
    assert usage_of({"prompt_tokens": True, "completion_tokens": 0}) == Usage(None, 0, None, None)


@pytest.mark.parametrize(
    ("metrics", "seconds"),
    [
        ({"time_to_first_token_ms": 30, "queue_time_ms": 10.0}, 0.04),
        ({"time_to_first_token_ms": 30, "queue_time_ms": None}, 0.03),
        ({"time_to_first_token_ms": None, "queue_time_ms": 10.0}, None),
        ({"time_to_first_token_ms": -1}, None),
        ({"time_to_first_token_ms": "30"}, None),
        (None, None),
        ([], None),
    ],
)
def test_ttft_by_the_server(metrics: Any, seconds: float | None) -> None:
    assert server_ttft_of({"metrics": metrics}) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("data", "at_end"),
    [
        (b"{", True),
        (b'{"a": "b', True),
        (b"", True),
        (b"}", False),
        (b'{"a" 5}', False),
        (b"\xff", False),
        (b'{"a": "\xc3', True),
    ],
)
def test_json_that_ends_early_is_told_from_what_is_none(data: bytes, at_end: bool) -> None:
    with pytest.raises(UnreadableError) as caught:
        parse(data)
    assert caught.value.at_end == at_end
