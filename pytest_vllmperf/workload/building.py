"""Requests from what a workload keeps: random tokens, texts, chats, conversations, traces. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload.lengths import Lengths, draw_length
from pytest_vllmperf.workload.request import Asked, Message, Request


@dataclass(frozen=True)
class Vocabulary:
    """Which tokens may be drawn.

    Attributes:
        size: of the model's vocabulary; ids are below.
        ordinary: ids without special ones, in order.
    """

    size: int
    ordinary: Sequence[int]

    @classmethod
    def of(cls, size: int, special: Sequence[int]) -> Vocabulary:
        """A vocabulary to draw from.

        Raises:
            WorkloadError: when no ordinary token is left.
        """
        left = frozenset(special)
        ordinary = [token for token in range(size) if token not in left]
        if not ordinary:
            raise WorkloadError(f"the vocabulary of {size} tokens has no ordinary token")
        return cls(size, ordinary)


@dataclass(frozen=True)
class Prefixes:
    """Leading tokens that prompts share.

    Attributes:
        tokens: how many.
        groups: of requests; request i belongs to group i modulo this, and each group has a prefix of its own.
    """

    tokens: int = 0
    groups: int = 1


def synthetic(
    count: int,
    lengths: tuple[Lengths, Lengths],
    prefixes: Prefixes,
    seed: int,
    vocabulary: Vocabulary,
    asked: Asked,
) -> tuple[Request, ...]:
    """Requests of random tokens.

    Args:
        count: how many.
        lengths: of prompts and answers.
        prefixes: what prompts have in common.
        seed: of lengths and tokens.
        vocabulary: what is drawn from.
        asked: of a server besides.
    """
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    shared = [draw.choices(vocabulary.ordinary, k=prefixes.tokens) for _ in range(prefixes.groups)]
    requests = []
    for index in range(count):
        prefix = shared[index % prefixes.groups]
        own = draw.choices(vocabulary.ordinary, k=draw_length(draw, lengths[0]) - len(prefix))
        output = draw_length(draw, lengths[1])
        requests.append(Request(index, output, prompt_token_ids=(*prefix, *own), asked=asked))
    return tuple(requests)


def traced(
    inputs: Sequence[str], outputs: Sequence[int], block_tokens: int, seed: int, vocabulary: Vocabulary, asked: Asked
) -> tuple[Request, ...]:
    """Requests of a trace: random tokens, the same for blocks of one name, and of one's own where no block is named.

    Args:
        inputs: of each request, as `traces.content` writes them.
        outputs: tokens to generate, of each.
        block_tokens: of a block; the last one of a prompt may be cut.
        seed: of tokens.
        vocabulary: what is drawn from.
        asked: of a server besides.
    """
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    known: dict[int, list[int]] = {}

    def block(name: int) -> list[int]:
        if name not in known:  # by its name alone: the same tokens in whatever part of a trace it comes first
            known[name] = random.Random(f"block {seed} {name}").choices(vocabulary.ordinary, k=block_tokens)  # noqa: S311
        return known[name]

    requests = []
    for index, (text, output) in enumerate(zip(inputs, outputs, strict=True)):
        length, *names = json.loads(text)
        tokens = [token for name in names[: -(-length // max(block_tokens, 1))] for token in block(name)][:length]
        own = draw.choices(vocabulary.ordinary, k=length - len(tokens))
        requests.append(Request(index, output, prompt_token_ids=(*tokens, *own), asked=asked))
    return tuple(requests)


def listed(
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[int],
    after: Sequence[int | None],
    vocab_size: int,
    asked: Asked,
) -> tuple[Request, ...]:
    """Requests that were written down.

    Args:
        kind: of all: `prompts`, `chat`, `conversations` or `tokens`; or `mixed`, and each input begins with its own.
        inputs: of each: the text, or messages or token ids as JSON; of a later turn only what is new in it.
        outputs: tokens to generate, of each.
        after: index of the turn before each; None for none. Its messages come before those of the request.
        vocab_size: token ids have to be below.
        asked: of a server besides.

    Raises:
        WorkloadError: for token ids that the model does not have.
    """
    requests: list[Request] = []
    for index, (text, output, before) in enumerate(zip(inputs, outputs, after, strict=True)):
        form, content = text.split(":", 1) if kind == "mixed" else (kind, text)
        made: Mapping[str, Any] = _MAKERS[form](content)
        if before is not None:
            made = {"messages": (*(requests[before].messages or ()), *made["messages"])}
        highest = max(made.get("prompt_token_ids", (-1,)))
        if highest >= vocab_size and "prompt_token_ids" in made:
            raise WorkloadError(
                f"request {index} has the token id {highest}, but the model's vocabulary ends at {vocab_size - 1}"
            )
        requests.append(Request(index, output, after=before, asked=asked, **made))
    return tuple(requests)


def _prompt(text: str) -> Mapping[str, str]:
    return {"prompt": text}


def _chat(text: str) -> Mapping[str, tuple[Message, ...]]:
    return {"messages": tuple(json.loads(text))}


def _tokens(text: str) -> Mapping[str, tuple[int, ...]]:
    return {"prompt_token_ids": tuple(json.loads(text))}


_MAKERS: Mapping[str, Any] = {"prompts": _prompt, "chat": _chat, "conversations": _chat, "tokens": _tokens}
