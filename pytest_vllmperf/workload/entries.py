"""`Entry`: one request as a file or a list tells it. And what is done with those that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pytest_vllmperf.errors import WorkloadError

_NAMED: Final = 5
"""How many broken lines a message names."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class UnusableError(Exception):
    """Why one line, row or conversation cannot be used; becomes part of a `WorkloadError`."""


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        form: `prompts` (text), `chat` (messages) or `tokens` (token ids): kinds of a workload.
        content: the text, or messages or ids as JSON. Of a later turn only what the history does not hold yet.
        output_tokens: tokens to generate.
        follows: whether it is the next turn of the conversation that the entry before belongs to.
    """

    form: str
    content: str
    output_tokens: int
    follows: bool = False


def take(
    file: str,
    numbered: Iterable[tuple[int, Item]],
    parse: Callable[[int, Item], Sequence[Made]],
    requests: int | None,
    unit: str = "line",
) -> list[Made]:
    """The first requests of a file; reads no further than it has to.

    Args:
        file: its name as the user wrote it.
        numbered: what it holds, with numbers for messages.
        parse: makes requests of one and its number; none where one is sound but holds nothing to send.
        requests: how many; None for all.
        unit: what one is called.

    Raises:
        WorkloadError: where any cannot be used (how many, the first numbers, why), where nothing is left, or fewer
            than were asked for.
    """
    made: list[Made] = []
    broken: list[tuple[int, str]] = []
    seen = 0
    for number, item in numbered:
        seen += 1
        try:
            made.extend(parse(number, item))
        except UnusableError as error:
            broken.append((number, str(error)))
        if requests is not None and len(made) >= requests:
            break
    if broken:
        raise WorkloadError(_broken(file, broken, seen, unit))
    if not made:
        raise WorkloadError(f"{file} holds no usable request" + (f" in {seen} {unit}s" if seen else ""))
    if requests is not None and len(made) < requests:
        raise WorkloadError(f"{file} holds {len(made)} requests, fewer than requests={requests}")
    return made[:requests]


def _broken(file: str, broken: Sequence[tuple[int, str]], seen: int, unit: str) -> str:
    number, problem = broken[0]
    if len(broken) == 1:
        return f"{file}, {unit} {number}: {problem}"
    listed = ", ".join(str(one) for one, _ in broken[:_NAMED]) + (", ..." if len(broken) > _NAMED else "")
    return f"{file}: {len(broken)} of {seen} {unit}s cannot be used ({unit}s {listed}); {unit} {number}: {problem}"


def text_entry(text: object, output_tokens: int, what: str = "a prompt") -> Entry:
    """A prompt in text.

    Raises:
        UnusableError: for what is no text, empty, or cannot be encoded.
    """
    if not isinstance(text, str) or not text:
        raise UnusableError(f"{what} must be a non-empty string, not {shown(text)}")
    _check_unicode(text)
    return Entry("prompts", text, output_tokens)


def token_entry(tokens: object, output_tokens: int) -> Entry:
    """A prompt in token ids.

    Raises:
        UnusableError: for what is no list of one or more whole numbers of at least 0.
    """
    listed = isinstance(tokens, (list, tuple)) and len(tokens) > 0
    if not listed or not all(type(one) is int and one >= 0 for one in tokens):  # type: ignore[attr-defined]
        raise UnusableError(f"token ids must be a list of one or more whole numbers of at least 0, not {shown(tokens)}")
    return Entry("tokens", json.dumps(list(tokens)), output_tokens)  # type: ignore[call-overload]


def chat_entry(messages: object, output_tokens: int, *, follows: bool = False) -> Entry:
    """A chat.

    Raises:
        UnusableError: for what is no list of messages.
    """
    return Entry("chat", encode_messages(messages), output_tokens, follows)


def encode_messages(messages: object) -> str:
    """Messages as canonical JSON.

    Raises:
        UnusableError: for what is no list of messages with role and content, or is no JSON.
    """
    whole = isinstance(messages, (list, tuple)) and len(messages) > 0
    if not whole or not all(isinstance(m, Mapping) and {"role", "content"} <= set(m) for m in messages):  # type: ignore[attr-defined]
        raise UnusableError("must be a list of messages with 'role' and 'content'")
    try:
        text = json.dumps([dict(m) for m in messages], sort_keys=True, allow_nan=False)  # type: ignore[attr-defined]
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusableError(f"has content that is not JSON: {error}") from None
    if "\\ud" in text:
        _check_unicode(json.dumps(messages, ensure_ascii=False, default=dict))
    return text


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise UnusableError(
            f"contains half of a surrogate pair, \\u{code:04x}, which cannot be sent to a server"
        ) from None


def shown(value: Any) -> str:
    """A value for a message, in one line and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
