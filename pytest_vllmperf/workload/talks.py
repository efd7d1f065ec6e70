"""Recorded conversations: ShareGPT's files, and lists or lines of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload.entries import Entry, UnusableError, chat_entry, shown, take
from pytest_vllmperf.workload.textfiles import first_line, lines, parsed, whole_json

CHARACTERS_PER_TOKEN: Final = 4
"""How a recorded answer's length is told in tokens, as no tokenizer is at hand; English text is near that."""

_ROLES: Final = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant"), "assistant"),
}
_PLACES: Final = ("conversations", "messages")

Messages = list[dict[str, Any]]


def read_talks(
    name: str, file: Path, requests: int | None, output_tokens: int | None, *, first_turn: bool = False
) -> list[Entry]:
    """The turns of a file of conversations: a JSON list of them, or JSON lines.

    Args:
        name: as the user wrote it.
        file: its path.
        requests: how many; None for all.
        output_tokens: of all; None for the length of each recorded answer.
        first_turn: whether only the first turn of each conversation is wanted.

    Raises:
        WorkloadError: for a file that cannot be used, with the conversations or lines.
    """
    if first_line(name, file)[:1] == b"{":
        return take(
            name, lines(name, file), lambda _, line: turns(parsed(line), output_tokens, first_turn=first_turn), requests
        )
    talks = whole_json(name, file)
    if not isinstance(talks, list):
        raise WorkloadError(f"{name} must be a list of conversations, not {shown(talks)}")
    return take_talks(name, talks, requests, output_tokens, first_turn=first_turn)


def take_talks(
    name: str, talks: Iterable[Any], requests: int | None, output_tokens: int | None, *, first_turn: bool = False
) -> list[Entry]:
    """The turns of conversations that were read; as `read_talks`."""
    return take(
        name,
        enumerate(talks),
        lambda _, talk: turns(talk, output_tokens, first_turn=first_turn),
        requests,
        unit="conversation",
    )


def turns(talk: Any, output_tokens: int | None, *, first_turn: bool = False) -> list[Entry]:
    """The requests of one conversation, each with what it adds to the history of the one before.

    A turn is what a person wrote until the next answer. Without `output_tokens` its length is that of the recorded
    answer; a turn without one is left out, and so is what follows it.

    Raises:
        UnusableError: for what is no conversation.
    """
    messages = as_messages(talk)
    made: list[Entry] = []
    new: Messages = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant" and not made and not _asks(new):
            continue  # an answer to nothing, such as the end of a longer conversation
        new.append(message)
        following = messages[number + 1] if number + 1 < len(messages) else None
        if message["role"] != "user" or (following is not None and following["role"] != "assistant"):
            continue
        tokens = output_tokens
        if tokens is None:
            if following is None:
                break
            tokens = estimated_tokens(following["content"])
        made.append(chat_entry(new, tokens, follows=bool(made)))
        new = []
        if first_turn:
            break
    return made


def estimated_tokens(answer: object) -> int:
    """The length of a recorded answer: one token for four characters, rounded up, at least 1."""
    return max(1, -(-len(str(answer)) // CHARACTERS_PER_TOKEN))


def _asks(messages: Messages) -> bool:
    return any(message["role"] == "user" for message in messages)


def as_messages(talk: Any) -> Messages:
    """A conversation of ShareGPT's form or OpenAI's, as messages of OpenAI's: role and content.

    Raises:
        UnusableError: for what is no conversation.
    """
    if isinstance(talk, Mapping):
        where = next((name for name in _PLACES if name in talk), None)
        if where is None:
            raise UnusableError(
                f"must have 'conversations' or 'messages', but has {', '.join(map(repr, talk)) or 'nothing'}"
            )
        talk = talk[where]
    if not isinstance(talk, Sequence) or isinstance(talk, (str, bytes)):
        raise UnusableError(f"must be a list of messages, not {shown(talk)}")
    return [_message(number, one) for number, one in enumerate(talk)]


def _message(number: int, message: Any) -> dict[str, Any]:
    """One message of ShareGPT's form or OpenAI's, as OpenAI's."""
    if isinstance(message, Mapping) and {"from", "value"} <= set(message):
        role, content = message["from"], message["value"]
    elif isinstance(message, Mapping) and {"role", "content"} <= set(message):
        role, content = message["role"], message["content"]
    else:
        raise UnusableError(f"message {number} must have 'from' and 'value', or 'role' and 'content': {shown(message)}")
    if not isinstance(role, str) or not isinstance(content, str):
        raise UnusableError(f"message {number} must have text as its role and content: {shown(message)}")
    return {"role": _ROLES.get(role, role), "content": content}
