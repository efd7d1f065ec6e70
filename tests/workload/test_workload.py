"""`Workload`: the same requests at every call, of the lengths asked for."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload import Workload

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

CHAT = [{"role": "user", "content": "hello"}]


@st.composite
def lengths(draw: st.DrawFn, lowest: int = 1) -> int | tuple[int, int]:
    low = draw(st.integers(lowest, 20))
    high = draw(st.integers(low, 30))
    return draw(st.sampled_from([low, (low, high)]))


def bounds(length: int | tuple[int, int]) -> tuple[int, int]:
    return length if isinstance(length, tuple) else (length, length)


@relaxed
@given(
    requests=st.integers(1, 12),
    input_tokens=lengths(lowest=4),
    output_tokens=lengths(),
    prefix=st.integers(0, 3),
    seed=st.integers(0, 2**40),
    vocab=st.integers(10, 500),
)
def test_synthetic_requests_are_what_was_asked_for(
    requests: int, input_tokens: Any, output_tokens: Any, prefix: int, seed: int, vocab: int
) -> None:
    def make() -> Workload:
        return Workload.synthetic(
            requests=requests,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            shared_prefix_tokens=prefix,
            seed=seed,
        )

    special = (0, 3)
    made = make().requests(vocab, special)
    assert made == make().requests(vocab, special)
    assert [request.index for request in made] == list(range(requests))
    prompts = [request.prompt_token_ids or () for request in made]
    (low, high), (out_low, out_high) = bounds(input_tokens), bounds(output_tokens)
    assert all(low <= len(prompt) <= high for prompt in prompts)
    assert all(out_low <= request.output_tokens <= out_high for request in made)
    assert {token for prompt in prompts for token in prompt} <= set(range(vocab)) - set(special)
    assert len({prompt[:prefix] for prompt in prompts}) == 1


def test_another_seed_sends_other_tokens() -> None:
    one, other = (
        Workload.synthetic(requests=4, input_tokens=16, output_tokens=4, seed=seed).requests(1000) for seed in (1, 2)
    )
    assert [r.prompt_token_ids for r in one] != [r.prompt_token_ids for r in other]


def test_prompts_differ_behind_the_shared_prefix() -> None:
    made = Workload.synthetic(requests=5, input_tokens=20, output_tokens=1, shared_prefix_tokens=10).requests(5000)
    assert len({(request.prompt_token_ids or ())[10:] for request in made}) == 5


def test_a_range_uses_its_ends() -> None:
    made = Workload.synthetic(requests=200, input_tokens=(1, 3), output_tokens=(2, 4)).requests(100)
    assert {len(request.prompt_token_ids or ()) for request in made} == {1, 2, 3}
    assert {request.output_tokens for request in made} == {2, 3, 4}


def test_a_range_of_one_length_is_that_length() -> None:
    one = Workload.synthetic(requests=2, input_tokens=(5, 5), output_tokens=[3, 3])  # type: ignore[arg-type]
    assert one == Workload.synthetic(requests=2, input_tokens=5, output_tokens=3)


def test_requests_are_pinned() -> None:
    # Stored baselines rest on these very tokens: a change of the generator makes another workload.
    made = Workload.synthetic(requests=2, input_tokens=4, output_tokens=2, shared_prefix_tokens=2, seed=7)
    assert [r.prompt_token_ids for r in made.requests(100, (0,))] == [(33, 15, 65, 8), (33, 15, 54, 37)]


@pytest.mark.parametrize("vocab", [0, 2])
def test_a_vocabulary_without_ordinary_tokens_is_refused(vocab: int) -> None:
    workload = Workload.synthetic(requests=1, input_tokens=1, output_tokens=1)
    with pytest.raises(WorkloadError, match=f"vocabulary of {vocab}"):
        workload.requests(vocab, (0, 1))


def test_prompts_become_text_requests() -> None:
    made = Workload.prompts(["one", "two"], output_tokens=3, concurrency=2).requests(10)
    assert [request.to_wire() for request in made] == [
        {"index": 0, "output_tokens": 3, "prompt": "one"},
        {"index": 1, "output_tokens": 3, "prompt": "two"},
    ]


def test_chats_become_message_requests() -> None:
    (request,) = Workload.chat([CHAT], output_tokens=3, ignore_eos=False).requests(10)
    assert request.to_wire() == {"index": 0, "output_tokens": 3, "messages": tuple(CHAT)}


def test_settings_reach_the_workload() -> None:
    chat = Workload.chat([CHAT], output_tokens=3, ignore_eos=False, temperature=0.5, seed=3, concurrency=1)
    assert (chat.ignore_eos, chat.temperature, chat.seed, chat.concurrency) == (False, 0.5, 3, 1)
    synthetic = Workload.synthetic(requests=3, input_tokens=4, output_tokens=2, temperature=0.7, seed=9, concurrency=2)
    assert (synthetic.ignore_eos, synthetic.temperature, synthetic.seed, synthetic.concurrency) == (True, 0.7, 9, 2)


BASE: dict[str, Any] = {"requests": 4, "input_tokens": 8, "output_tokens": 4}


@pytest.mark.parametrize(
    "changed",
    [
        {"requests": 5},
        {"input_tokens": 9},
        {"input_tokens": (8, 9)},
        {"output_tokens": 5},
        {"concurrency": 2},
        {"seed": 1},
        {"shared_prefix_tokens": 1},
        {"temperature": 0.5},
    ],
)
def test_whatever_changes_the_work_changes_the_key(changed: dict[str, Any]) -> None:
    assert Workload.synthetic(**{**BASE, **changed}).key != Workload.synthetic(**BASE).key


def test_the_texts_are_in_the_key_and_not_in_the_description() -> None:
    one = Workload.prompts(["a secret text"], output_tokens=2)
    other = Workload.prompts(["another text"], output_tokens=2)
    assert one.key != other.key
    assert "a secret text" not in str(one.describe())
    assert one.describe() == {
        "kind": "prompts",
        "count": 1,
        "output_tokens": 2,
        "seed": 0,
        "shared_prefix_tokens": 0,
        "ignore_eos": True,
        "temperature": 0.0,
        "key": one.key,
    }


def test_a_chat_is_the_same_whatever_the_order_of_its_keys() -> None:
    other = [{"content": "hello", "role": "user"}]
    assert Workload.chat([CHAT], output_tokens=1).key == Workload.chat([other], output_tokens=1).key


def test_workloads_are_hashable() -> None:
    assert len({Workload.chat([CHAT], output_tokens=1), Workload.chat([CHAT], output_tokens=1)}) == 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"requests": 0}, "requests=0"),
        ({"requests": True}, "requests=True"),
        ({"requests": 1.5}, "requests=1.5"),
        ({"input_tokens": 0}, "input_tokens=0"),
        ({"input_tokens": "8"}, "input_tokens='8'"),
        ({"input_tokens": (9, 8)}, "input_tokens=(9, 8)"),
        ({"input_tokens": (1, 2, 3)}, "input_tokens=(1, 2, 3)"),
        ({"output_tokens": -1}, "output_tokens=-1"),
        ({"output_tokens": (0, 3)}, "output_tokens=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"shared_prefix_tokens": -1}, "shared_prefix_tokens=-1"),
        ({"shared_prefix_tokens": 8}, "shared_prefix_tokens=8"),
        ({"input_tokens": (4, 20), "shared_prefix_tokens": 4}, "shared_prefix_tokens=4"),
        ({"shared_prefix_tokens": 1.5}, "shared_prefix_tokens=1.5"),
        ({"shared_prefix_tokens": "2"}, "shared_prefix_tokens='2'"),
    ],
)
def test_a_synthetic_workload_that_cannot_be_sent_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        Workload.synthetic(**{**BASE, **changed})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prompts", [[], "one text", [""], ["a", 3], None])
def test_prompts_must_be_a_list_of_texts(prompts: Any) -> None:
    with pytest.raises(WorkloadError, match="prompts must be a list"):
        Workload.prompts(prompts, output_tokens=1)


def test_prompts_from_a_generator_are_not_lost() -> None:
    try:
        workload = Workload.prompts((text for text in ("a", "b")), output_tokens=1)  # type: ignore[arg-type]
    except WorkloadError:
        return
    assert workload.count == 2


@pytest.mark.parametrize(
    "chats",
    [
        [],
        ["hello"],
        CHAT,
        [[]],
        [["hello"]],
        [[{"role": "user"}]],
        [[{"content": "hello"}]],
        [7],
        [[{"role": "user", "content": object()}]],
    ],
)
def test_chats_must_be_lists_of_messages(chats: Any) -> None:
    with pytest.raises(WorkloadError, match="chat") as caught:
        Workload.chat(chats, output_tokens=1)
    assert "\n" not in str(caught.value)


def test_the_broken_chat_is_named() -> None:
    with pytest.raises(WorkloadError, match="chat 1 must"):
        Workload.chat([CHAT, [{"role": "user"}]], output_tokens=1)


@pytest.mark.parametrize("output_tokens", [0, 2.0, (1, 2)])
def test_listed_workloads_take_one_output_length(output_tokens: Any) -> None:
    with pytest.raises(WorkloadError, match="output_tokens"):
        Workload.prompts(["a"], output_tokens=output_tokens)
    with pytest.raises(WorkloadError, match="output_tokens"):
        Workload.chat([CHAT], output_tokens=output_tokens)


def test_only_synthetic_prompts_without_a_common_prefix_are_fresh_by_design() -> None:
    assert Workload.synthetic(requests=2, input_tokens=8, output_tokens=2).fresh_prompts
    shared = Workload.synthetic(requests=2, input_tokens=8, output_tokens=2, shared_prefix_tokens=4)
    chat = Workload.chat([[{"role": "user", "content": "hello"}]], output_tokens=2)
    assert not any(one.fresh_prompts for one in (shared, chat, Workload.prompts(["hello"], output_tokens=2)))
