"""The record types that travel from the engine to the report. Times in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class RequestRecord:
    """One finished request, with the engine core's monotonic timestamps.

    Attributes:
        index: the request's place in the workload.
        prompt_tokens: length of the prompt as the engine saw it.
        output_tokens: tokens that came back.
        cached_tokens: prompt tokens that the prefix cache held.
        finish_reason: vLLM's own word (`length`, `stop`, `abort`); None for a request that did not finish.
        queued_ts: the engine core took the request.
        scheduled_ts: first scheduled.
        first_token_ts: first token out.
        last_token_ts: last token out.
    """

    index: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: str | None
    queued_ts: float
    scheduled_ts: float
    first_token_ts: float
    last_token_ts: float


@dataclass(frozen=True)
class RunResult:
    """What an engine tells of one iteration.

    Attributes:
        requests: one record per request, in the order of the workload.
        itl_ns: gaps between tokens in nanoseconds, all requests together.
        engine_steps: steps of the engine core that emitted tokens.
        preemptions: how often a request was thrown out of the KV cache; None for an engine that has none to share.
        prefix_cache_hit_tokens: prompt tokens found in the prefix cache; None for an engine that has none.
        cpu_seconds: user and system time of the engine's processes; None where it cannot be known.
        resident_bytes: resident set of the engine's processes afterwards; None where it cannot be known.
        busy_seconds: how long the engine worked on it, seen from its own process.
        kernels_compiled: kernels and graphs that were compiled meanwhile; None where that cannot be known.
        torch_peak_bytes: most device memory that torch had allocated at once since the engine started, without the KV
            cache, all ranks together; None on a CPU, and where that may have been before there was a KV cache.
    """

    requests: tuple[RequestRecord, ...]
    itl_ns: tuple[int, ...]
    engine_steps: int
    preemptions: int | None
    prefix_cache_hit_tokens: int | None
    cpu_seconds: float | None
    resident_bytes: int | None
    busy_seconds: float
    kernels_compiled: int | None = None
    torch_peak_bytes: int | None = None

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
class WeightLayers:
    """Layers that hold their weights in one way.

    Attributes:
        method: the class that does it, with its scheme and kernel where there are.
        quantized: whether it is any but the plain one.
        layers: how many.
        weights: numbers that they stand for, on one rank; None where unknown.
        held_bytes: what these take, scales and zero points included; None where a kernel has packed them away.
    """

    method: str
    quantized: bool
    layers: int
    weights: int | None
    held_bytes: int | None


@dataclass(frozen=True)
class WeightFacts:
    """What a model's weights were to be, and what they are.

    Attributes:
        declared: the `quantization_config` of the model's `config.json`; empty for none.
        asked: the engine argument `quantization`.
        resolved: what the library made of both; None for no quantization.
        dummy: whether the weights were made up while loading.
        loaded_bytes: what loading them took, as the library counts it; None where it does not.
        layers: how the layers that can be quantized hold their weights; empty where unknown.
        stored_bytes: bytes of the checkpoint's tensors in the dtype that they are loaded as; None where it does not
            lie here.
        idle_bytes: what a step does not read whole: the input embedding.
    """

    declared: Mapping[str, Any]
    asked: str | None
    resolved: str | None
    dummy: bool
    loaded_bytes: int | None
    layers: tuple[WeightLayers, ...]
    stored_bytes: int | None
    idle_bytes: int = 0

    @property
    def weight_bytes(self) -> int | None:
        """What the weights take once loaded; None where that cannot be told.

        vLLM's CPU build does not count; there it is what the checkpoint stores, unless something else was loaded.
        """
        in_flight = self.asked is not None and not self.declared
        return self.loaded_bytes or (None if self.dummy or in_flight else self.stored_bytes)


@dataclass(frozen=True)
class MemoryFacts:
    """Where an engine's device memory went, as it knows itself; all ranks together, None for what it did not tell.

    Attributes:
        peak_activation: what vLLM's profiling run took at most beside the weights.
        non_torch: what the process holds outside of torch: the CUDA context, libraries, communication.
        cuda_graphs: what torch reserved for CUDA graphs.
        torch_reserved: what torch holds, in use or not.
    """

    peak_activation: int | None
    non_torch: int | None
    cuda_graphs: int | None
    torch_reserved: int | None


@dataclass(frozen=True)
class EngineFacts:
    """What an engine tells of itself once it is up.

    Attributes:
        device: `cuda` or `cpu`.
        device_name: the accelerator's name; None on a CPU.
        max_model_len: the longest prompt plus output, in tokens.
        vocab_size: of the tokenizer, or the model where it has none.
        special_token_ids: ids that synthetic prompts avoid.
        prefix_caching: whether the engine keeps prompts' KV blocks for later requests.
        load_time: seconds by part: `import`, `total`, and `weights` and `rest` where vLLM tells.
        kv_cache_tokens: capacity of the KV cache in tokens; None where unknown.
        kv_cache_bytes: its size; None where unknown.
        weights: how the weights are held; None where unknown.
        kv_blocks: how many blocks it has; None where unknown.
        kv_cache_groups: in how many groups layers share these blocks, more than one where layers differ; None where
            unknown.
        max_concurrency: how many requests of max_model_len it holds at once; None where unknown.
        expected_kv_bytes_per_token: by the model's configuration; None for a model whose layers differ.
        memory: where the device's memory went; None on a CPU, or where unknown.
        versions: what ran: `vllm`, `torch`, `python`.
        resolved: what vLLM made of the arguments: `dtype`, `quantization`, `max_num_seqs` and so on.
    """

    device: str
    device_name: str | None
    max_model_len: int
    vocab_size: int
    special_token_ids: tuple[int, ...]
    prefix_caching: bool
    load_time: Mapping[str, float]
    kv_cache_tokens: int | None
    kv_cache_bytes: int | None
    weights: WeightFacts | None = None
    kv_blocks: int | None = None
    kv_cache_groups: int | None = None
    max_concurrency: float | None = None
    expected_kv_bytes_per_token: int | None = None
    memory: MemoryFacts | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kv_bytes_per_token(self) -> float | None:
        """KV cache bytes over its capacity in tokens; None where either is unknown.

        Also with several groups of layers: how much a token takes there depends on the length of its request.
        """
        if not self.kv_cache_bytes or not self.kv_cache_tokens or (self.kv_cache_groups or 0) > 1:
            return None
        return self.kv_cache_bytes / self.kv_cache_tokens


class EngineSamples(BaseModel):
    """One engine start: what was measured on it. Stored as it is.

    Attributes:
        cold_start: whether it was the first start of this engine in its run, when caches may have been empty.
        discarded: how many iterations were warm-up.
        iterations: how many iterations counted.
        warmup: values of the discarded iterations, for the metrics that a gate looks at by default.
        samples: values of the counted iterations, by metric, in the order they ran.
        once: values that an engine has once, such as its load time.
        ttft_by_request: seconds; for each request of the workload the median TTFT over the iterations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cold_start: bool = False
    discarded: int = Field(ge=0)
    iterations: int = Field(ge=1)
    warmup: dict[str, list[float]] = Field(default_factory=dict)
    samples: dict[str, list[float]]
    once: dict[str, float] = Field(default_factory=dict)
    ttft_by_request: list[float] = Field(default_factory=list)

    def values(self, metric: str) -> list[float]:
        """The samples of a metric, one for a metric that an engine has once; empty when not measured."""
        if metric in self.once:
            return [self.once[metric]]
        return list(self.samples.get(metric, ()))


class Environment(BaseModel):
    """Where and what was measured: keys that must match, and keys that are told when they differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hard: dict[str, str]
    soft: dict[str, str]


class Session(BaseModel):
    """What one run recorded of one check: its engines, the environment they ran in, and why one was left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded: str
    environment: Environment
    engines: list[EngineSamples] = Field(min_length=1)
    excluded: list[str] = Field(default_factory=list)
