"""Whether two engines say the same: greedy outputs, log-probabilities, and what their chat templates render. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pytest_vllmperf.records.engine import RenderedChat, TokenScores
from pytest_vllmperf.records.quality import Quality, Tokens


def greedy_agreement(outputs: Sequence[Tokens], reference: Sequence[Tokens]) -> float:
    """Mean share of the reference's tokens before the first that differs: behind it both go their own way.

    Args:
        outputs: for each prompt the tokens that an engine made.
        reference: the same of the reference; at least one, none of them empty.
    """
    return fmean(_same_start(own, other) / len(other) for own, other in zip(outputs, reference, strict=True))


def compare_quality(
    outputs: Sequence[Tokens],
    reference: Sequence[Tokens],
    scores: Sequence[TokenScores],
    reference_scores: Sequence[TokenScores],
) -> Quality:
    """Judge an engine by the reference.

    Args:
        outputs: greedy continuations of the engine, one for each prompt.
        reference: greedy continuations of the reference.
        scores: how the engine sees each prompt followed by the reference's continuation.
        reference_scores: how the reference sees it.
    """
    differences: list[float] = []
    same = 0
    for continuation, own, other in zip(reference, scores, reference_scores, strict=True):
        places = slice(-len(continuation), None)
        differences += [abs(x - y) for x, y in zip(own.logprobs[places], other.logprobs[places], strict=True)]
        same += sum(x == y for x, y in zip(own.top[places], other.top[places], strict=True))
    return Quality(
        prompts=len(reference),
        tokens=max(map(len, reference)),
        agreement=greedy_agreement(outputs, reference),
        logprob_difference=fmean(differences),
        top1_agreement=same / len(differences),
    )


def first_difference(own: RenderedChat, reference: RenderedChat) -> str | None:
    """Where two renderings of a chat part, in words; None where they are the same."""
    place = _same_start(own.ids, reference.ids)
    if place == len(own.ids) == len(reference.ids):
        return None
    return f"token {place} is {_token(own, place)}, the reference has {_token(reference, place)}"


def first_token_difference(own: Tokens, reference: Tokens) -> str | None:
    """Where two prompts part, in words; None where they are the same."""
    place = _same_start(own, reference)
    if place == len(own) == len(reference):
        return None
    shown = [str(tokens[place]) if place < len(tokens) else "the end" for tokens in (own, reference)]
    return f"token {place} is {shown[0]}, the reference has {shown[1]}"


def _same_start(own: Tokens, other: Tokens) -> int:
    for place, (x, y) in enumerate(zip(own, other, strict=False)):
        if x != y:
            return place
    return min(len(own), len(other))


def _token(rendered: RenderedChat, place: int) -> str:
    if place >= len(rendered.ids):
        return "none (the end)"
    return f"{rendered.ids[place]} {rendered.tokens[place]!r}"
