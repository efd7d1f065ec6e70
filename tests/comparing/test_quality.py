"""Whether two engines say the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_vllmperf.comparing.quality import (
    compare_quality,
    first_difference,
    first_token_difference,
    greedy_agreement,
)
from pytest_vllmperf.records.engine import RenderedChat, TokenScores
from pytest_vllmperf.records.quality import Quality

SAME = Quality(prompts=2, tokens=32, agreement=1.0, logprob_difference=0.0, top1_agreement=1.0)


def scores(*logprobs: float, top: tuple[int, ...] = ()) -> TokenScores:
    return TokenScores(logprobs, top or (0,) * len(logprobs))


@pytest.mark.parametrize(
    ("output", "share"),
    [
        ([1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4, 5], 1.0),
        ([1, 2, 9, 4], 0.5),  # what agrees again behind the first difference does not count
        ([1, 2, 3], 0.75),
        ([9, 2, 3, 4], 0.0),
        ([], 0.0),
    ],
)
def test_agreement_is_the_share_before_the_first_token_that_differs(output: list[int], share: float) -> None:
    assert greedy_agreement([output], [[1, 2, 3, 4]]) == share


def test_every_prompt_counts_the_same_however_long() -> None:
    assert greedy_agreement([[1], [1, 9, 9, 9]], [[1], [1, 2, 3, 4]]) == (1 + 0.25) / 2


def test_outputs_of_other_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        greedy_agreement([[1]], [[1], [2]])


def test_the_same_answers_are_the_same() -> None:
    seen = [scores(-9.0, -1.0, -2.0, top=(7, 1, 2)), scores(-0.5, top=(5,))]
    outputs = [[1, 2], [5]]
    assert compare_quality(outputs, outputs, seen, seen) == Quality(2, 2, 1.0, 0.0, 1.0)


def test_only_the_continuation_is_judged() -> None:
    own = [scores(-50.0, -1.0, -2.5, top=(99, 1, 2))]
    reference = [scores(-1.0, -1.5, -2.0, top=(7, 1, 3))]
    assert compare_quality([[1, 2]], [[1, 3]], own, reference) == Quality(
        prompts=1, tokens=2, agreement=0.5, logprob_difference=0.5, top1_agreement=0.5
    )


def test_places_are_taken_together_over_all_prompts() -> None:
    own = [scores(-1.0, top=(1,)), scores(-1.0, -2.0, -3.0, top=(1, 2, 3))]
    reference = [scores(-2.0, top=(2,)), scores(-1.0, -2.0, -3.0, top=(1, 2, 3))]
    found = compare_quality([[1], [1, 2, 3]], [[1], [1, 2, 3]], own, reference)
    assert (found.prompts, found.tokens) == (2, 3)
    assert (found.logprob_difference, found.top1_agreement) == (0.25, 0.75)


def test_differences_do_not_cancel() -> None:
    found = compare_quality([[1, 2]], [[1, 2]], [scores(-1.0, -3.0)], [scores(-2.0, -2.0)])
    assert found.logprob_difference == 1.0


def test_scores_of_another_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare_quality([[1, 2]], [[1, 2]], [scores(-1.0)], [scores(-1.0, -2.0)])


def test_a_limit_that_is_just_met_is_met() -> None:
    on_the_edge = Quality(2, 32, 0.9, 0.05, 0.95)
    assert on_the_edge.shortfalls(0.9, 0.05, 0.95) == []
    assert SAME.shortfalls(1.0, 0.0, 1.0) == []


def test_each_shortfall_is_told_in_words() -> None:
    far = Quality(prompts=2, tokens=32, agreement=0.5, logprob_difference=0.25, top1_agreement=0.8125)
    assert far.shortfalls(0.9, 0.1, 0.95) == [
        "greedy agreement 50.0% of 32 tokens (at least 90%)",
        "mean log-probability difference 0.25 (at most 0.1)",
        "top-1 agreement 81.2% (at least 95%)",
    ]
    assert far.shortfalls(0.5, 0.1, 0.5) == ["mean log-probability difference 0.25 (at most 0.1)"]


@pytest.mark.parametrize("name", ["agreement", "logprob_difference", "top1_agreement"])
def test_what_is_not_a_number_misses_any_limit(name: str) -> None:
    (told,) = replace(SAME, **{name: math.nan}).shortfalls(0.0, 1e9, 0.0)
    assert "nan" in told


def test_impossible_tokens_are_not_taken_for_the_same() -> None:
    impossible = [scores(-math.inf)]
    found = compare_quality([[1]], [[1]], impossible, impossible)
    assert len(found.shortfalls(0.0, 1e9, 0.0)) == 1


HELLO = RenderedChat((1, 5, 6), ("<s>", "Hel", "lo\n"))


def test_the_same_rendering_has_no_difference() -> None:
    assert first_difference(HELLO, HELLO) is None
    assert first_difference(RenderedChat((), ()), RenderedChat((), ())) is None


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (RenderedChat((1, 5, 7), ("<s>", "Hel", "lo")), "token 2 is 6 'lo\\n', the reference has 7 'lo'"),
        (RenderedChat((5, 6), ("Hel", "lo\n")), "token 0 is 1 '<s>', the reference has 5 'Hel'"),
        (RenderedChat((1, 5), ("<s>", "Hel")), "token 2 is 6 'lo\\n', the reference has none (the end)"),
        (
            RenderedChat((1, 5, 6, 8), ("<s>", "Hel", "lo\n", "!")),
            "token 3 is none (the end), the reference has 8 '!'",
        ),
    ],
)
def test_where_two_renderings_part_is_told(other: RenderedChat, told: str) -> None:
    assert first_difference(HELLO, other) == told


@pytest.mark.parametrize(
    ("own", "reference", "told"),
    [
        ((1, 2), (1, 2), None),
        ((), (), None),
        ((1, 2, 3), (1, 9, 3), "token 1 is 2, the reference has 9"),
        ((1,), (1, 2), "token 1 is the end, the reference has 2"),
        ((1, 2), (1,), "token 1 is 2, the reference has the end"),
    ],
)
def test_where_two_prompts_part_is_told(own: tuple[int, ...], reference: tuple[int, ...], told: str | None) -> None:
    assert first_token_difference(own, reference) == told
