"""What was seen of one iteration over HTTP, beside its requests: the client's own audit, and the server's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_vllmperf.records.answers import Answer, ClientAudit


@dataclass(frozen=True)
class ServerMetrics:
    """What a server's `/metrics` said of one iteration; None for what it does not have.

    Counters are differences between before and after; maxima are of samples taken once a second meanwhile.

    Attributes:
        prefix_queries: prompt tokens looked up in the prefix cache.
        prefix_hits: of these, tokens found.
        preemptions: requests evicted from the KV cache and restarted.
        prompt_tokens: tokens of prompts.
        generation_tokens: tokens made.
        finished: requests that ended.
        queue_seconds: mean seconds that a request waited to be scheduled.
        ttft_seconds: mean seconds until a request's first token, by the server.
        drafts: how often speculative decoding proposed tokens for a request.
        draft_tokens: tokens that speculative decoding proposed.
        accepted_tokens: of these, tokens accepted.
        steps: steps of the engine core.
        running_max: most requests running at once.
        waiting_max: most requests waiting at once.
        kv_usage_max: most of the KV cache in use, 0 .. 1.
        running_after: requests still running afterwards.
        waiting_after: requests still waiting afterwards.
    """

    prefix_queries: float | None = None
    prefix_hits: float | None = None
    preemptions: float | None = None
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    finished: float | None = None
    queue_seconds: float | None = None
    ttft_seconds: float | None = None
    drafts: float | None = None
    draft_tokens: float | None = None
    accepted_tokens: float | None = None
    steps: float | None = None
    running_max: float | None = None
    waiting_max: float | None = None
    kv_usage_max: float | None = None
    running_after: float | None = None
    waiting_after: float | None = None


@dataclass(frozen=True)
class Slo:
    """A promise on each request, in seconds; None for no promise. A request without a TPOT keeps that one.

    Attributes:
        ttft: until the first token.
        tpot: for each token after the first.
        e2e: until the last token.
    """

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    @property
    def key(self) -> str:
        """What has to be the same for two goodputs to be compared."""
        parts = {"ttft": self.ttft, "tpot": self.tpot, "e2e": self.e2e}
        return " ".join(f"{name}={most:g}s" for name, most in parts.items() if most is not None)


@dataclass(frozen=True)
class Served:
    """What was seen of one iteration over HTTP.

    Attributes:
        audit: of the load generator.
        answers: one for each request that was due.
        failures: how many requests failed, by kind.
        server: the server's own figures; None where it has no `/metrics`.
        in_flight: (nanoseconds, requests in flight) at each change.
        steady: seconds of the window in which a closed loop was full, on the client's clock; None without one.
        notes: what a person should know.
    """

    audit: ClientAudit
    answers: tuple[Answer, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    server: ServerMetrics | None = None
    in_flight: tuple[tuple[int, int], ...] = ()
    steady: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
