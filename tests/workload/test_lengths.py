"""Lengths as histograms, and prefixes that groups of requests share."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.workload import Workload

Refused = Callable[..., str]
relaxed = settings(max_examples=40)


def synthetic(**changed: Any) -> Workload:
    return Workload.synthetic(**{"requests": 6, "input_tokens": 8, "output_tokens": 4, **changed})


def prompts(workload: Workload) -> list[tuple[int, ...]]:
    return [request.prompt_token_ids or () for request in workload.requests(5_000)]


def test_a_histogram_draws_lengths_by_their_weights() -> None:
    workload = synthetic(requests=4_000, input_tokens={2: 1, 5: 3}, output_tokens={1: 0.5, 7: 0.5, 9: 0})
    inputs = Counter(map(len, prompts(workload)))
    outputs = Counter(request.output_tokens for request in workload.requests(10))
    assert set(inputs) == {2, 5}
    assert inputs[5] / 4_000 == pytest.approx(0.75, abs=0.03)
    assert set(outputs) == {1, 7}
    assert outputs[7] / 4_000 == pytest.approx(0.5, abs=0.03)


@relaxed
@given(st.dictionaries(st.integers(1, 40), st.floats(0.001, 1000), min_size=1, max_size=5), st.integers(0, 99))
def test_a_histogram_has_no_other_lengths_and_is_the_same_every_time(weights: dict[int, float], seed: int) -> None:
    workload = synthetic(requests=20, output_tokens=weights, seed=seed)
    made = [request.output_tokens for request in workload.requests(10)]
    assert set(made) <= set(weights)
    turned = {length: weights[length] for length in reversed(weights)}
    assert workload == synthetic(requests=20, output_tokens=turned, seed=seed)


def test_only_the_shares_of_a_histogram_count() -> None:
    assert synthetic(output_tokens={1: 1, 2: 1}).key == synthetic(output_tokens={1: 8, 2: 8.0, 3: 0}).key
    assert synthetic(output_tokens={1: 1, 2: 1}).key != synthetic(output_tokens={1: 1, 2: 2}).key
    assert synthetic(output_tokens={4: 2}) == synthetic(output_tokens=4)


def test_a_histogram_is_described_by_its_shares() -> None:
    workload = synthetic(input_tokens={4: 1, 8: 3})
    assert workload.describe()["input_tokens"] == ((4, 0.25), (8, 0.75))
    assert hash(workload) == hash(synthetic(input_tokens={8: 3, 4: 1}))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "add up to 0"),
        ({4: 0}, "add up to 0"),
        ({0: 1}, "a length of output_tokens=0"),
        ({"4": 1}, "a length of output_tokens='4'"),
        ({4: -1}, "weight -1 of output_tokens=4"),
        ({4: "1"}, "weight '1'"),
        ({4: True}, "weight True"),
        ({4: float("nan")}, "weight nan"),
        ({4: 1e308, 5: 1e308}, "add up to"),
    ],
)
def test_histograms_that_are_none_are_refused(weights: Any, said: str, refused: Refused) -> None:
    assert said in refused(synthetic, output_tokens=weights)


def test_a_shared_prefix_has_to_fit_the_shortest_of_a_histogram(refused: Refused) -> None:
    assert "below input_tokens=4" in refused(synthetic, input_tokens={9: 1, 4: 1}, shared_prefix_tokens=4)


def test_groups_share_a_prefix_each() -> None:
    made = prompts(synthetic(requests=9, shared_prefix_tokens=5, prefix_groups=3))
    assert len({prompt[:5] for prompt in made}) == 3
    for index, prompt in enumerate(made):
        assert prompt[:5] == made[index % 3][:5]
    assert len(set(made)) == 9


def test_one_group_is_what_it_was_before_there_were_groups() -> None:
    assert synthetic(shared_prefix_tokens=5, prefix_groups=1) == synthetic(shared_prefix_tokens=5)
    assert synthetic(shared_prefix_tokens=5, prefix_groups=2).key != synthetic(shared_prefix_tokens=5).key


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prefix_groups": 2}, "prefix_groups=2 needs shared_prefix_tokens"),
        ({"prefix_groups": 0, "shared_prefix_tokens": 2}, "prefix_groups=0"),
        ({"prefix_groups": 7, "shared_prefix_tokens": 2}, "prefix_groups=7 is more than requests=6"),
    ],
)
def test_groups_that_make_no_sense_are_refused(arguments: dict[str, Any], said: str, refused: Refused) -> None:
    assert said in refused(synthetic, **arguments)
