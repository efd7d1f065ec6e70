"""OpenAI's completion and chat objects: what one of them holds. Knows nothing of times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from pytest_vllmperf.load.job import Api

_REASONING: Final = ("reasoning", "reasoning_content")
_MOST: Final = 1 << 62


class UnreadableError(Exception):
    """An object that is none of OpenAI's; the message says why, without any text of the object.

    Attributes:
        at_end: whether it is JSON as far as it goes.
    """

    def __init__(self, message: str, *, at_end: bool = False) -> None:
        super().__init__(message)
        self.at_end = at_end


@dataclass
class Content:
    """What one object adds to an answer.

    Attributes:
        text: of the answer.
        reasoning: whether it has reasoning.
        answer: whether it has content that is no reasoning and not only token ids.
        tools: (place of the tool call, more of its arguments).
        ids: how many token ids it tells; None where it tells none.
        finish_reason: the server's word; None where it has none.
        path: leads to the text where that is all that the object has; empty else.
    """

    text: str = ""
    reasoning: bool = False
    answer: bool = False
    tools: list[tuple[int, str]] = field(default_factory=list)
    ids: int | None = None
    finish_reason: str | None = None
    path: tuple[Any, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it is content by the definition of TTFT: text, reasoning, arguments of a tool call, or token ids."""
        return self.answer or self.reasoning or bool(self.ids)


@dataclass(frozen=True)
class Usage:
    """What a server tells of tokens; None for what it does not tell."""

    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None


def parse(data: bytes) -> dict[str, Any]:
    """An object out of its JSON.

    Raises:
        UnreadableError: for what is not JSON, or no object.
    """
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"not JSON: {error}", at_end=error.pos >= len(error.doc)) from None
    if type(parsed) is not dict:
        raise UnreadableError("JSON, but no object")
    return parsed


def error_of(parsed: Mapping[str, Any]) -> str | None:
    """The error that an object tells instead of an answer; None for any other object.

    Either `{"error": …}`, as OpenAI has it, or `{"object": "error", "message": …}`, as older servers of vLLM have it.
    """
    error = parsed.get("error")
    if error:
        return message_of(parsed) or "an error without a message"
    if parsed.get("object") == "error":
        return message_of(parsed) or "an error without a message"
    return None


def message_of(parsed: Any) -> str:
    """The words of an error's object, of OpenAI's kind or FastAPI's; empty where there are none."""
    for _ in range(3):
        if isinstance(parsed, Mapping):
            parsed = next((parsed[key] for key in ("error", "message", "detail", "msg") if parsed.get(key)), "")
        elif isinstance(parsed, list):
            parsed = parsed[0] if parsed else ""
    return parsed if isinstance(parsed, str) else ""


def content_of(parsed: Mapping[str, Any], api: Api, part: str) -> Content | None:
    """The content of an object; None for one without choices, such as the last one with the usage.

    Args:
        parsed: the object.
        api: which interface it belongs to.
        part: where a chat's choice has its content: `delta` in an event, `message` in a whole answer.

    Raises:
        UnreadableError: for choices of another form than OpenAI's.
    """
    choices = parsed.get("choices")
    if not choices:
        return None
    if type(choices) is not list:
        raise UnreadableError("its choices are no list")
    content = Content()
    for index, choice in enumerate(choices):
        if type(choice) is not dict:
            raise UnreadableError("a choice is no object")
        _add_common(content, choice)
        if api is Api.CHAT:
            _add_chat(content, choice.get(part), ("choices", index, part))
        else:
            _add_text(content, choice.get("text"), ("choices", index, "text"))
    if len(choices) > 1 or content.tools or content.finish_reason or content.ids is not None or "usage" in parsed:
        content.path = ()
    return content


def _add_common(content: Content, choice: Mapping[str, Any]) -> None:
    reason = choice.get("finish_reason")
    if reason is not None:
        content.finish_reason = str(reason)[:64]
    ids = choice.get("token_ids")
    if type(ids) is list:
        content.ids = (content.ids or 0) + len(ids)


def _add_text(content: Content, text: Any, path: tuple[Any, ...]) -> None:
    if type(text) is list:  # parts of a content, as some servers have them
        text = "".join(str(part.get("text") or "") for part in text if type(part) is dict)
    elif text is not None and type(text) is not str:
        raise UnreadableError(f"its {path[-1]} is no text")
    elif text:
        content.path = path
    if text:
        content.text += text
        content.answer = True


def _add_chat(content: Content, message: Any, path: tuple[Any, ...]) -> None:
    if message is None:
        return
    if type(message) is not dict:
        raise UnreadableError(f"a {path[-1]} is no object")
    _add_text(content, message.get("content"), (*path, "content"))
    if message.get("refusal"):
        content.answer, content.path = True, ()
    for name in _REASONING:
        reasoning = message.get(name)
        if reasoning:
            single = type(reasoning) is str and not (content.answer or content.reasoning)
            content.path = (*path, name) if single else ()
            content.reasoning = True
    calls = message.get("tool_calls")
    if calls:
        _add_tools(content, calls)


def _add_tools(content: Content, calls: Any) -> None:
    if type(calls) is not list:
        raise UnreadableError("its tool calls are no list")
    for place, call in enumerate(calls):
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict:
            raise UnreadableError("a tool call has no function")
        index = call.get("index")
        arguments = function.get("arguments")
        if arguments is not None and type(arguments) is not str:
            raise UnreadableError("the arguments of a tool call are no text")
        content.tools.append((index if type(index) is int else place, arguments or ""))
        content.answer = content.answer or bool(arguments)


def usage_of(parsed: Mapping[str, Any]) -> Usage | None:
    """What an object tells of tokens; None where it does not."""
    usage = parsed.get("usage")
    if type(usage) is not dict:
        return None
    return Usage(
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _count(usage.get("prompt_tokens_details"), "cached_tokens"),
        _count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def server_ttft_of(parsed: Mapping[str, Any]) -> float | None:
    """Seconds from a request's arrival in the engine to its first token, by the server's metrics; None without them.

    vLLM's `--enable-per-request-metrics` (entrypoints/generate/base/serving.py of 0.32) tells the time to the first
    token from when the request was scheduled, and the time in the queue before that: the sum is meant here.
    """
    metrics = parsed.get("metrics")
    first = _milliseconds(metrics, "time_to_first_token_ms")
    if first is None:
        return None
    return (first + (_milliseconds(metrics, "queue_time_ms") or 0.0)) / 1000


def _count(parent: Any, key: str) -> int | None:
    value = parent.get(key) if type(parent) is dict else None
    return value if type(value) is int and 0 <= value < _MOST else None


def _milliseconds(parent: Any, key: str) -> float | None:
    value = parent.get(key) if type(parent) is dict else None
    return float(value) if isinstance(value, int | float) and 0 <= value < _MOST else None
