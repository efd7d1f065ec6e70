"""Prompts that no server has seen: other tokens, the same lengths and shared beginnings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.lab.fresh import permuted
from pytest_vllmperf.workload import Workload

SPECIAL = (0, 1, 5)
VOCABULARY = 50
WORKLOAD = Workload.synthetic(
    requests=6, input_tokens=(8, 20), output_tokens=4, shared_prefix_tokens=4, prefix_groups=2
)
REQUESTS = WORKLOAD.requests(VOCABULARY, SPECIAL)


def prompts(seed: int) -> list[tuple[int, ...]]:
    return [one.prompt_token_ids or () for one in permuted(REQUESTS, seed, VOCABULARY, SPECIAL)]


@given(st.integers(0, 2**64 - 1))
def test_lengths_and_what_prompts_share_stay(seed: int) -> None:
    found, before = prompts(seed), prompts(0)
    assert [len(one) for one in found] == [len(one) for one in before]
    assert not {token for one in found for token in one} & set(SPECIAL)
    assert all(0 <= token < VOCABULARY for one in found for token in one)
    assert len({one[:4] for one in found}) == len({one[:4] for one in before}) == 2


def test_other_seeds_give_other_prompts_and_hardly_ever_the_same_beginning() -> None:
    beginnings = {prompt[:6] for seed in range(200) for prompt in prompts(seed)}
    assert len(beginnings) > 0.95 * 200 * len(REQUESTS)


def test_texts_and_chats_stay() -> None:
    texts = Workload.prompts(["a", "b"], output_tokens=3).requests(VOCABULARY)
    assert permuted(texts, 3, VOCABULARY, SPECIAL) == texts
