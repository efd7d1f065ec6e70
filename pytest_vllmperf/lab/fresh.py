"""Prompts that no server has seen, where its prefix cache cannot be reset."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from pytest_vllmperf.workload import Request


def permuted(requests: Sequence[Request], seed: int, vocab_size: int, special: Sequence[int]) -> tuple[Request, ...]:
    """The same requests in other tokens: each ordinary token id becomes another one, by a random permutation.

    Lengths, and prefixes that requests share among themselves, stay what they are. Texts and chats stay as they are.

    Args:
        requests: of one iteration.
        seed: of the permutation.
        vocab_size: token ids are below it.
        special: ids that are never used.
    """
    left_out = frozenset(special)
    ordinary = [token for token in range(vocab_size) if token not in left_out]
    others = list(ordinary)
    random.Random(seed).shuffle(others)  # noqa: S311 - for prompts, not for secrets
    moved = dict(zip(ordinary, others, strict=True))
    return tuple(
        request
        if request.prompt_token_ids is None
        else replace(request, prompt_token_ids=tuple(moved.get(token, token) for token in request.prompt_token_ids))
        for request in requests
    )
