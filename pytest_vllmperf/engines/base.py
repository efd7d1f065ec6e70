"""The `Engine` protocol: what `measure` needs of an engine, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_vllmperf.metrics.records import EngineFacts, RequestRecord, RunResult
from pytest_vllmperf.spec import EngineSpec
from pytest_vllmperf.workload import Message, Request

Progress = Callable[[str, float], None]
"""Called now and then while an engine works: what it is doing, and for how many seconds."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds an engine is given.

    Attributes:
        start: from the start of its process until it can take requests.
        operation: for one iteration, or any other single operation.
        shutdown: to stop by itself; then its processes are ended.
    """

    start: float = 900.0
    operation: float = 600.0
    shutdown: float = 10.0


@dataclass(frozen=True)
class Sampling:
    """How an iteration is sent.

    Attributes:
        concurrency: requests in flight at once; None for all of them.
        ignore_eos: generate on past the end token.
        temperature: 0 is greedy.
        seed: of sampling.
    """

    concurrency: int | None = None
    ignore_eos: bool = True
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Continuations:
    """What an engine made of some requests, greedily.

    Attributes:
        prompts: token ids that it saw, for each request.
        outputs: token ids that it made.
    """

    prompts: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TokenScores:
    """How an engine sees one sequence of tokens, from its second token on.

    Attributes:
        logprobs: natural logarithm of the probability of each token after those before it.
        top: the token that it holds most probable in each place.
    """

    logprobs: tuple[float, ...]
    top: tuple[int, ...]


@dataclass(frozen=True)
class RenderedChat:
    """A chat as a tokenizer renders it.

    Attributes:
        ids: token ids, with the turn opened that the model is to fill.
        tokens: the same as text.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]


class Engine(Protocol):
    """A running engine. Every method may raise `EngineDiedError` or `EngineTimeoutError`."""

    @property
    def spec(self) -> EngineSpec:
        """What was asked for."""

    @property
    def facts(self) -> EngineFacts:
        """What came up."""

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once and wait for all of them."""

    def reset_prefix_cache(self) -> None:
        """Forget the KV blocks of earlier prompts."""

    def sleep(self) -> None:
        """Give the device's memory back until `wake_up`."""

    def wake_up(self) -> None:
        """Take the device's memory again."""

    def generate(self, requests: Sequence[Request]) -> Continuations:
        """Greedy continuations, past any end token."""

    def score(self, sequences: Sequence[Sequence[int]]) -> tuple[TokenScores, ...]:
        """How probable each token of these sequences is after those before it."""

    def render(self, chats: Sequence[Sequence[Message]], model: str | None = None) -> tuple[RenderedChat, ...]:
        """Chats as token ids, by the engine's tokenizer, or that of `model`."""

    @property
    def pid(self) -> int | None:
        """The process that leads the engine's; None where nothing runs."""

    def close(self) -> None:
        """Stop; the engine's processes are gone when this returns. Does nothing the second time."""

    def kill(self) -> None:
        """End the engine's processes at once."""


def run_result(answer: dict[str, Any], requests: Sequence[Request]) -> RunResult:
    """What a child answered to `run`, as a record; a request without an answer has no finish reason."""
    records = [
        RequestRecord(index=request.index, **record)
        if record is not None
        else RequestRecord(request.index, 0, 0, 0, None, 0.0, 0.0, 0.0, 0.0)
        for request, record in zip(requests, answer["requests"], strict=True)
    ]
    return RunResult(
        requests=tuple(records),
        itl_ns=tuple(answer["itl_ns"]),
        **{name: answer[name] for name in (
            "engine_steps", "preemptions", "prefix_cache_hit_tokens", "cpu_seconds", "resident_bytes", "busy_seconds"
        )},
        kernels_compiled=answer.get("kernels_compiled"),
        torch_peak_bytes=answer.get("torch_peak_bytes"),
    )  # fmt: skip
