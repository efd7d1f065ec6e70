"""Asks two engines the same and compares what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from pytest_vllmperf.comparing.quality import compare_quality, first_token_difference
from pytest_vllmperf.engines.base import Engine, Generates, Scores, able
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.lab.sharing import Sharing
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.engine import Continuations, TokenScores
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.workload import Message, Request, Workload

Answer = TypeVar("Answer")
_PROMPTS = 16


class Rounds(Protocol):
    """Two engines that can be measured against each other, round by round; see `lab.pair.Pair`."""

    @property
    def sharing(self) -> Sharing:
        """How they share the device."""

    @property
    def workload(self) -> Workload:
        """What is sent to both."""

    def measure_round(self) -> tuple[Measurement, Measurement]:
        """Start a fresh engine of both and measure them in turns."""

    def ask(self, side: int, use: Callable[[Engine], Answer]) -> Answer:
        """Do something else with one of the two."""


def compare_answers(rounds: Rounds, prompts: Sequence[str | Sequence[Message]] | None, tokens: int) -> Quality:
    """How far the first engine says the same as the second, the reference.

    The reference continues each prompt greedily; the engine does too, and both then tell how probable they hold the
    reference's continuation. Each engine is asked once, as it may have to be started for it.

    Args:
        rounds: the two engines.
        prompts: texts or chats; None for the first 16 requests of the workload.
        tokens: how many to generate for each.

    Raises:
        SpecError: when an engine cannot generate or score.
        WorkloadError: for prompts that are not valid, do not fit an engine, or make other tokens on the two, and for a
            workload whose answers cannot be scored.
    """
    _check_scored(rounds.workload, given=prompts is not None)
    listed = _requests(prompts, tokens)

    def asked(engine: Engine) -> Sequence[Request]:
        return listed or first_requests(engine, rounds.workload, _PROMPTS, tokens)

    def of_reference(engine: Engine) -> tuple[Continuations, tuple[TokenScores, ...]]:
        made = able(engine, Generates).generate(asked(engine))
        return made, able(engine, Scores).score(_sequences(made))

    def of_own(engine: Engine) -> tuple[Continuations, tuple[TokenScores, ...]]:
        made = able(engine, Generates).generate(asked(engine))
        return made, able(engine, Scores).score(_sequences(reference))

    reference, reference_scores = rounds.ask(1, of_reference)
    own, scores = rounds.ask(0, of_own)
    for number, (seen, wanted) in enumerate(zip(own.prompts, reference.prompts, strict=True)):
        if difference := first_token_difference(seen, wanted):
            raise WorkloadError(f"the two engines cannot be compared: prompt {number}: {difference}")
    return compare_quality(own.outputs, reference.outputs, scores, reference_scores)


def _check_scored(workload: Workload, *, given: bool) -> None:
    """See that answers can be scored: that is done on token ids, by the model without an adapter.

    Raises:
        WorkloadError: where it would be about another model, or without the images.
    """
    if workload.named_models:
        raise WorkloadError(
            f"the quality of answers of the adapter {workload.named_models[0]!r} cannot be compared: answers are "
            f"scored by the model itself; compare engines whose model has the adapter merged into it"
        )
    if workload.media and not given:
        raise WorkloadError("the quality of answers to images or sound cannot be compared; pass prompts= of text")


def checked_chats(chats: Sequence[Sequence[Message]]) -> list[tuple[Message, ...]]:
    """Chats, each a list of messages with role and content.

    Raises:
        WorkloadError: for an empty list, or a chat that is none.
    """
    return [request.messages or () for request in Workload.chat(chats, output_tokens=1).requests(0)]


def first_requests(engine: Engine, workload: Workload, count: int, tokens: int) -> tuple[Request, ...]:
    """The first requests of a workload, with no more tokens to make than there is room for."""
    requests = workload.requests(engine.facts.vocab_size, engine.facts.special_token_ids)[:count]
    return tuple(replace(one, output_tokens=min(tokens, one.output_tokens)) for one in requests)


def _requests(prompts: Sequence[str | Sequence[Message]] | None, tokens: int) -> tuple[Request, ...]:
    """Prompts as requests; none for None.

    Raises:
        WorkloadError: for an empty list, or a number of tokens that is not at least 1.
    """
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise WorkloadError(f"tokens={tokens!r} must be a whole number of at least 1")
    if prompts is None:
        return ()
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not prompts:
        raise WorkloadError("prompts must be a list of at least one text or chat")
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if texts and len(texts) < len(prompts):
        raise WorkloadError("prompts must be either all texts or all chats")
    if texts:
        return Workload.prompts(texts, output_tokens=tokens).requests(0)
    chats = [prompt for prompt in prompts if not isinstance(prompt, str)]
    return Workload.chat(chats, output_tokens=tokens).requests(0)


def _sequences(made: Continuations) -> list[list[int]]:
    """Each prompt with its continuation."""
    return [[*prompt, *output] for prompt, output in zip(made.prompts, made.outputs, strict=True)]
