"""What an engine is: the core that every engine has, and the capabilities that some have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.loadgen.addresses import Address
from pytest_vllmperf.records.engine import (
    Continuations,
    EngineFacts,
    RenderedChat,
    Sampling,
    TokenScores,
)
from pytest_vllmperf.records.kernels import RankUse
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.scheduling import Drafting, Occupation
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Message, Request

Capability = TypeVar("Capability")


class Engine(Protocol):
    """A running engine. Every method may raise `EngineDiedError` or `EngineTimeoutError`."""

    @property
    def spec(self) -> EngineSpec:
        """What was asked for."""

    @property
    def facts(self) -> EngineFacts:
        """What came up."""

    @property
    def pid(self) -> int | None:
        """The process that leads the engine's; None where nothing runs."""

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once and wait for all of them."""

    def close(self) -> None:
        """Stop; the engine's processes are gone when this returns. Does nothing the second time."""

    def kill(self) -> None:
        """End the engine's processes at once."""


@runtime_checkable
class Sleeps(Protocol):
    """An engine that can give its device's memory back without ending."""

    def sleep(self) -> None:
        """Give the device's memory back until `wake_up`."""

    def wake_up(self) -> None:
        """Take the device's memory again."""


@runtime_checkable
class CachesPrefixes(Protocol):
    """An engine that keeps the KV blocks of earlier prompts."""

    def reset_prefix_cache(self) -> None:
        """Forget the KV blocks of earlier prompts."""


@runtime_checkable
class CachesMedia(Protocol):
    """An engine that keeps images and sound of earlier requests, processed and encoded."""

    def reset_media_caches(self) -> None:
        """Forget them."""


@runtime_checkable
class Profiles(Protocol):
    """An engine whose GPUs can be profiled while it works."""

    @property
    def unprofiled(self) -> str:
        """Why they cannot be profiled, as far as that is known without trying; empty where they may be."""

    def profile_start(self, trace: Path | None = None) -> None:
        """Record from now on what its GPUs do. The engine may be slower until it ends.

        Args:
            trace: where the first rank keeps a Chrome trace of the iteration, or of its first part, in gzip.

        Raises:
            ProfileError: when they cannot be profiled, with the reason; the engine is then as fast as before.
        """

    def profile_stop(self) -> tuple[RankUse, ...]:
        """Stop recording. Returns what the GPU of each rank did.

        Raises:
            ProfileError: when the recording is not whole.
        """


@runtime_checkable
class Serves(Protocol):
    """An engine behind a socket: requests may be due at times of their own, and ask for what only a server has."""

    @property
    def address(self) -> Address:
        """Where it listens."""


@runtime_checkable
class Generates(Protocol):
    """An engine that tells the tokens it makes."""

    def generate(self, requests: Sequence[Request]) -> Continuations:
        """Greedy continuations, past any end token."""


@runtime_checkable
class Scores(Protocol):
    """An engine that tells how probable given tokens are."""

    def score(self, sequences: Sequence[Sequence[int]]) -> tuple[TokenScores, ...]:
        """How probable each token of these sequences is after those before it."""


@runtime_checkable
class Renders(Protocol):
    """An engine that renders chats."""

    def render(self, chats: Sequence[Sequence[Message]], model: str | None = None) -> tuple[RenderedChat, ...]:
        """Chats as token ids, by the engine's tokenizer, or that of `model`."""


_DOING: Mapping[type, str] = {
    Sleeps: "sleep",
    CachesPrefixes: "reset its prefix cache",
    Profiles: "be profiled",
    Serves: "be sent requests over HTTP",
    Generates: "return the tokens that it generates",
    Scores: "score given tokens",
    Renders: "render chats",
}


def able(engine: Engine, capability: type[Capability]) -> Capability:
    """The engine, as one that has this capability.

    Args:
        engine: a running engine.
        capability: one of the protocols above.

    Raises:
        SpecError: when engines of its backend do not have it.
    """
    if not isinstance(engine, capability):
        spec = engine.spec
        raise SpecError(f"{spec.name}: an engine of backend={spec.backend!r} cannot {_DOING[capability]}")
    return engine


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
        instructions=answer.get("instructions"),
        occupation=Occupation(**occupied) if (occupied := answer.get("occupation")) else None,
        drafting=Drafting(**drafted) if (drafted := answer.get("drafting")) else None,
    )  # fmt: skip
