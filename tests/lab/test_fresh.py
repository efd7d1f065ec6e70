"""Prompts that no server has seen: other tokens, the same lengths and shared beginnings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.lab.fresh import rotated
from pytest_vllmperf.workload import Workload

SPECIAL = (0, 1, 5)
VOCABULARY = 50
WORKLOAD = Workload.synthetic(
    requests=6, input_tokens=(8, 20), output_tokens=4, shared_prefix_tokens=4, prefix_groups=2
)
REQUESTS = WORKLOAD.requests(VOCABULARY, SPECIAL)


def prompts(offset: int) -> list[tuple[int, ...]]:
    return [one.prompt_token_ids or () for one in rotated(REQUESTS, offset, VOCABULARY, SPECIAL)]


@given(st.integers(0, 10**6))
def test_lengths_and_what_prompts_share_stay(offset: int) -> None:
    found, before = prompts(offset), prompts(0)
    assert [len(one) for one in found] == [len(one) for one in before]
    assert not {token for one in found for token in one} & set(SPECIAL)
    assert all(0 <= token < VOCABULARY for one in found for token in one)
    assert len({one[:4] for one in found}) == len({one[:4] for one in before}) == 2


def test_an_offset_changes_every_token() -> None:
    pairs = [pair for old, new in zip(prompts(0), prompts(7), strict=True) for pair in zip(old, new, strict=True)]
    assert all(old != new for old, new in pairs)
    assert prompts(VOCABULARY - len(SPECIAL)) == prompts(0)


def test_texts_and_chats_stay() -> None:
    texts = Workload.prompts(["a", "b"], output_tokens=3).requests(VOCABULARY)
    assert rotated(texts, 3, VOCABULARY, SPECIAL) == texts
