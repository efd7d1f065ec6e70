"""OpenAI's completion and chat objects: what one of them holds. Knows nothing of times."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pytest_vllmperf.loadgen.job import Api

_REASONING: Final = ("reasoning", "reasoning_content")
_MOST: Final = 1 << 62


Path = tuple[str, ...]
"""Keys that lead from a choice to a text."""


class UnreadableError(Exception):
    """This is no object of OpenAI's interface. The message says why, and may hold some of its text.

    Attributes:
        at_end: whether it is JSON as far as it goes.
    """

    def __init__(self, message: str, *, at_end: bool = False) -> None:
        super().__init__(message)
        self.at_end = at_end


@dataclass(slots=True)
class Content:
    """What one object adds to an answer.

    Attributes:
        text: of the answer.
        reasoning: whether it has reasoning.
        answer: whether it has content that is no reasoning and not only token ids.
        tools: (place of the tool call, more of its arguments); None for none.
        ids: how many token ids it tells; None where it tells none.
        finish_reason: the server's word; None where it has none.
        path: leads to the text, where the object has nothing else; otherwise None.
    """

    text: str = ""
    reasoning: bool = False
    answer: bool = False
    tools: list[tuple[int, str]] | None = None
    ids: int | None = None
    finish_reason: str | None = None
    path: Path | None = None

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
        raise UnreadableError(f"not JSON: {error}", at_end=_ends_early(data, error)) from None
    if type(parsed) is not dict:
        raise UnreadableError("JSON, but no object")
    return parsed


def _ends_early(data: bytes, error: orjson.JSONDecodeError) -> bool:
    """Whether an error is at the end of the data; orjson shows no text where that is not UTF-8."""
    if error.doc:
        return error.pos >= len(error.doc)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


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
    add, key = (_add_chat, part) if api is Api.CHAT else (_add_text, "text")
    for choice in choices:
        if type(choice) is not dict:
            raise UnreadableError("a choice is no object")
        get = choice.get
        reason, ids = get("finish_reason"), get("token_ids")
        if reason is not None:
            content.finish_reason = str(reason)[:64]
        if type(ids) is list:
            content.ids = (content.ids or 0) + len(ids)
        add(content, get(key), (key,))
    if content.path and (content.finish_reason or content.ids is not None or "usage" in parsed or len(choices) > 1):
        content.path = None
    return content


def _add_text(content: Content, text: Any, path: Path) -> None:
    if text and type(text) is str:
        content.path, content.answer = path, True
        content.text += text
        return
    if type(text) is list:  # parts of a content, as some servers have them
        text = "".join(str(part.get("text") or "") for part in text if type(part) is dict)
    elif text is not None and type(text) is not str:
        raise UnreadableError(f"its {path[-1]} is no text")
    if text:
        content.text += text
        content.answer = True


def _add_chat(content: Content, message: Any, path: Path) -> None:
    if message is None:
        return
    if type(message) is not dict:
        raise UnreadableError(f"a {path[-1]} is no object")
    get = message.get
    _add_text(content, get("content"), (*path, "content"))
    if get("refusal"):
        content.answer, content.path = True, None
    for name in _REASONING:
        reasoning = get(name)
        if reasoning:
            single = type(reasoning) is str and not (content.answer or content.reasoning)
            content.path = (*path, name) if single else None
            content.reasoning = True
    calls = get("tool_calls")
    if calls:
        _add_tools(content, calls)


def _add_tools(content: Content, calls: Any) -> None:
    if type(calls) is not list:
        raise UnreadableError("its tool calls are no list")
    content.path = None
    content.tools = content.tools or []
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


def usage_of(usage: Any) -> Usage:
    """What the usage of an object tells of tokens."""
    return Usage(
        _count(usage, "prompt_tokens"),
        output_tokens_of(usage),
        _count(_inner(usage, "prompt_tokens_details"), "cached_tokens"),
        _count(_inner(usage, "completion_tokens_details"), "reasoning_tokens"),
    )


def output_tokens_of(usage: Any) -> int | None:
    """Tokens made so far, or in all, by the usage of an object; None where it does not tell."""
    return _count(usage, "completion_tokens")


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


def _inner(parent: Any, key: str) -> Any:
    return parent.get(key) if type(parent) is dict else None


def _count(parent: Any, key: str) -> int | None:
    value = parent.get(key) if type(parent) is dict else None
    return value if type(value) is int and 0 <= value < _MOST else None


def _milliseconds(parent: Any, key: str) -> float | None:
    value = parent.get(key) if type(parent) is dict else None
    return float(value) if isinstance(value, int | float) and 0 <= value < _MOST else None
