"""Prompts that no server has seen, where its prefix cache cannot be reset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_vllmperf.workload import Request


def rotated(requests: Sequence[Request], offset: int, vocab_size: int, special: Sequence[int]) -> tuple[Request, ...]:
    """The same requests in other tokens: each ordinary token id is replaced by the one `offset` places further on.

    Lengths, and prefixes that requests share among themselves, stay what they are. Texts and chats stay as they are.

    Args:
        requests: of one iteration.
        offset: 0 and more.
        vocab_size: token ids are below it.
        special: ids that are never used.
    """
    left_out = frozenset(special)
    ordinary = [token for token in range(vocab_size) if token not in left_out]
    place = {token: number for number, token in enumerate(ordinary)}
    moved = {token: ordinary[(number + offset) % len(ordinary)] for token, number in place.items()}
    return tuple(
        request
        if request.prompt_token_ids is None
        else replace(request, prompt_token_ids=tuple(moved.get(token, token) for token in request.prompt_token_ids))
        for request in requests
    )
