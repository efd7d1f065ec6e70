"""The record types that travel from the engine to the report. Times in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_vllmperf import stats
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.host import HostUse
from pytest_vllmperf.records.scheduling import Drafting, Occupation
from pytest_vllmperf.records.served import Served
from pytest_vllmperf.workload import Request


@dataclass(frozen=True)
class RequestRecord:
    """One request, with monotonic timestamps: the engine core's in process, the client's over HTTP.

    Attributes:
        index: the request's place in the workload.
        prompt_tokens: length of the prompt as the engine saw it.
        output_tokens: tokens that came back.
        cached_tokens: prompt tokens that the prefix cache held.
        finish_reason: vLLM's own word (`length`, `stop`, `abort`); None for a request that did not finish.
        queued_ts: the engine core took the request; over HTTP, when it was due.
        scheduled_ts: first scheduled; None over HTTP.
        first_token_ts: first token out; over HTTP, at the socket.
        last_token_ts: last token out; over HTTP, at the socket.
        answer: what the load generator saw of it; None in process.
    """

    index: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: str | None
    queued_ts: float
    scheduled_ts: float | None
    first_token_ts: float
    last_token_ts: float
    answer: Answer | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RunResult:
    """What an engine tells of one iteration.

    Attributes:
        requests: one record per request, in the order of the workload.
        itl_ns: gaps between tokens in nanoseconds, all requests together.
        engine_steps: steps of the engine core that emitted tokens; None over HTTP, where arrivals decide it.
        preemptions: how often a request was thrown out of the KV cache; None for an engine that has none to share.
        prefix_cache_hit_tokens: prompt tokens found in the prefix cache; None for an engine that has none.
        cpu_seconds: user and system time of the engine's processes; None where it cannot be known.
        resident_bytes: resident set of the engine's processes afterwards; None where it cannot be known.
        busy_seconds: how long the engine worked on it, seen from its own process.
        kernels_compiled: kernels and graphs that were compiled meanwhile; None where that cannot be known.
        torch_peak_bytes: most device memory that torch had allocated at once since the engine started, without the KV
            cache, all ranks together; None on a CPU, and where that may have been before there was a KV cache.
        instructions: that the engine's processes executed, in user mode; None on a GPU, and where nobody can count.
        served: what was seen of it over HTTP; None in process.
        valid_share: share of answers that are valid by what they were to follow; None where nothing was asked.
        max_rate: the highest rate of arrivals that kept a promise, requests/s; None where it was not searched for.
        host: what the machine's CPUs did meanwhile; None where that cannot be known.
        occupation: how full the scheduler was, step by step; None over HTTP, and for an engine that does not tell.
        drafting: what speculative decoding did; None where nothing was proposed.
    """

    requests: tuple[RequestRecord, ...]
    itl_ns: Sequence[int]
    engine_steps: int | None
    preemptions: int | None
    prefix_cache_hit_tokens: int | None
    cpu_seconds: float | None
    resident_bytes: int | None
    busy_seconds: float
    kernels_compiled: int | None = None
    torch_peak_bytes: int | None = None
    instructions: float | None = None
    served: Served | None = field(default=None, repr=False)
    valid_share: float | None = None
    max_rate: float | None = None
    host: HostUse | None = None
    occupation: Occupation | None = None
    drafting: Drafting | None = None

    @property
    def finished(self) -> list[RequestRecord]:
        """The requests that came to an end."""
        return [request for request in self.requests if request.finish_reason is not None]

    @property
    def span(self) -> tuple[float, float]:
        """From the first request's queueing to the last token, on the engine's monotonic clock; of finished requests.

        An iteration in which nothing finished spans no time.
        """
        done = self.finished
        if not done:
            return (0.0, 0.0)
        return (min(r.queued_ts for r in done), max(r.last_token_ts for r in done))


@dataclass(frozen=True)
class MeasureSettings:
    """How often, and with how many clients.

    Attributes:
        warmup: iterations discarded first; None to discard by rule (`stats.warmup_length`): at least two, then until
            three in a row agree, at most eight.
        iterations: iterations counted.
        client_processes: of the load generator; None for as many as it needs.
        device_pass: iterations after the counted ones in which the GPU is profiled; 0 for none.
    """

    warmup: int | None = None
    iterations: int = 10
    client_processes: int | None = None
    device_pass: int = 3

    def discarded(self, done: Sequence[RunResult]) -> int | None:
        """How many of these iterations of one engine are warm-up; None while that cannot be told."""
        if self.warmup is not None:
            return self.warmup
        window = min(stats.WARMUP_WINDOW, self.iterations)
        return stats.warmup_length([result.busy_seconds for result in done], window)


@dataclass(frozen=True)
class EngineRun:
    """What one engine did for one workload.

    Attributes:
        facts: what the engine is.
        requests: what each iteration sent.
        warmup: the discarded iterations.
        iterations: the counted ones.
    """

    facts: EngineFacts
    requests: tuple[Request, ...]
    warmup: tuple[RunResult, ...]
    iterations: tuple[RunResult, ...]
