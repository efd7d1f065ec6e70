"""JSON lines and rows of tables: prompts, token ids or messages, one request each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf.errors import did_you_mean
from pytest_vllmperf.workload.entries import Entry, UnusableError, chat_entry, shown, take, text_entry, token_entry
from pytest_vllmperf.workload.media import check_embedded
from pytest_vllmperf.workload.talks import as_messages
from pytest_vllmperf.workload.textfiles import lines, parsed

INPUTS: Final = ("prompt", "prompt_token_ids", "messages")
OUTPUTS: Final = ("output_tokens", "max_tokens", "max_completion_tokens")


def read_jsonl(name: str, file: Path, requests: int | None, output_tokens: int | None) -> list[Entry]:
    """The requests of a file with one JSON value a line: an object, or a text that is the prompt.

    Args:
        name: as the user wrote it.
        file: its path.
        requests: how many; None for all.
        output_tokens: of all; None for each line's own.

    Raises:
        WorkloadError: for a file that cannot be used, with the lines.
    """
    return take(name, lines(name, file), lambda _, line: [_entry(parsed(line), output_tokens)], requests)


def _entry(row: Any, output_tokens: int | None) -> Entry:
    if isinstance(row, str):
        return text_entry(row, output_length({}, output_tokens))
    if not isinstance(row, Mapping):
        raise UnusableError(f"must be an object or a text, not {shown(row)}")
    given = [name for name in INPUTS if row.get(name) is not None]
    if len(given) != 1:
        near = did_you_mean(next(iter(row), ""), INPUTS) if not given else ""
        told = f"has {' and '.join(given)}" if given else f"has {', '.join(map(repr, list(row)[:5])) or 'nothing'}"
        raise UnusableError(f"must have one of 'prompt', 'prompt_token_ids' and 'messages', but {told}{near}")
    tokens = output_length(row, output_tokens)
    if given[0] == "prompt":
        return text_entry(row["prompt"], tokens, "'prompt'")
    if given[0] == "prompt_token_ids":
        return token_entry(row["prompt_token_ids"], tokens)
    return _messages(row["messages"], tokens)


def output_length(row: Mapping[str, Any], output_tokens: int | None) -> int:
    """Tokens to generate: what the caller asked for, else what the row says.

    Raises:
        UnusableError: where neither says it, or the row says something else than a whole number of at least 1.
    """
    if output_tokens is not None:
        return output_tokens
    name = next((one for one in OUTPUTS if row.get(one) is not None), None)
    if name is None:
        raise UnusableError("does not say how many tokens to generate; add output_tokens to it, or pass output_tokens=")
    tokens = row[name]
    if type(tokens) is not int or tokens < 1:
        raise UnusableError(f"{name}={shown(tokens)} must be a whole number of at least 1")
    return tokens


def cell_entry(value: Any, output_tokens: int) -> Entry:
    """One cell of a table: text, a list of token ids, or a conversation, without the answer that it may end with.

    Raises:
        UnusableError: for anything else.
    """
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return token_entry(value, output_tokens) if isinstance(value[0], int) else _conversation(value, output_tokens)
    return text_entry(value, output_tokens)


def _messages(messages: Any, output_tokens: int) -> Entry:
    try:
        check_embedded(messages if isinstance(messages, (list, tuple)) else ())
        return chat_entry(messages, output_tokens)
    except UnusableError as error:
        raise UnusableError(f"messages {error}") from None


def _conversation(talk: Any, output_tokens: int) -> Entry:
    messages = as_messages(talk)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    return _messages(messages, output_tokens)
