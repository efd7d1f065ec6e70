"""The `Engine` protocol: what `measure` needs of an engine, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pytest_vllmperf.records.engine import (
    Continuations,
    EngineFacts,
    RenderedChat,
    Sampling,
    TokenScores,
)
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Message, Request


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
