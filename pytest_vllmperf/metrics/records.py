"""The record types that travel from the engine to the report. Times in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf import stats
from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.metrics.table import DISTRIBUTIONS, METRICS


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
    """

    requests: tuple[RequestRecord, ...]
    itl_ns: tuple[int, ...]
    engine_steps: int
    preemptions: int | None
    prefix_cache_hit_tokens: int | None
    cpu_seconds: float | None
    resident_bytes: int | None
    busy_seconds: float


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
    """

    declared: Mapping[str, Any]
    asked: str | None
    resolved: str | None
    dummy: bool
    loaded_bytes: int | None
    layers: tuple[WeightLayers, ...]
    stored_bytes: int | None

    @property
    def weight_bytes(self) -> int | None:
        """What the weights take once loaded; None where that cannot be told.

        vLLM's CPU build does not count; there it is what the checkpoint stores, unless something else was loaded.
        """
        in_flight = self.asked is not None and not self.declared
        return self.loaded_bytes or (None if self.dummy or in_flight else self.stored_bytes)


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
    versions: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)


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
    """What one run recorded of one check: its engines, and the environment they ran in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded: str
    environment: Environment
    engines: list[EngineSamples] = Field(min_length=1)


@dataclass(frozen=True)
class Distribution:
    """Percentiles of one quantity in seconds: of each iteration, then the median over iterations and engines."""

    measurement: Measurement
    name: str

    def __getattr__(self, point: str) -> float:
        """`mean`, `p50`, `p90`, `p95` or `p99`.

        Raises:
            NotMeasuredError: when the engine did not observe it.
            AttributeError: for any other name.
        """
        if point.startswith("_"):  # asked for by copy and pickle before the fields are there
            raise AttributeError(point)
        if f"{self.name}.{point}" not in METRICS:
            raise AttributeError(f"{self.name} has mean, p50, p90, p95 and p99, not {point}")
        return self.measurement.value(f"{self.name}.{point}")


@dataclass(frozen=True)
class Measurement:
    """One workload on one engine spec, from one engine start or several.

    Any metric of the table can be read as an attribute (`run.output_throughput`, in its unit of the table), a
    distribution through its points (`run.ttft.p50`, in seconds). What was not observed raises
    `NotMeasuredError`: missing is never zero.

    Attributes:
        spec_label: the engine, for a person.
        device: `cuda` or `cpu`.
        profile: the kind of hardware, as the folder of its baselines.
        workload: the workload as stored beside a baseline.
        environment: where it was measured.
        engines: what was measured on each engine start; at least one.
        problems: why the measurement is void, in words; empty when it is sound.
    """

    spec_label: str
    device: str
    profile: str
    workload: Mapping[str, Any]
    environment: Environment
    engines: tuple[EngineSamples, ...]
    problems: tuple[str, ...] = ()

    def with_engines_of(self, other: Measurement) -> Measurement:
        """This measurement and another of the same workload on the same spec, as one."""
        problems = tuple(dict.fromkeys([*self.problems, *other.problems]))
        return replace(self, engines=self.engines + other.engines, problems=problems)

    def samples(self, metric: str) -> Sequence[Sequence[float]]:
        """The values of a metric, for each engine one per iteration; empty when not measured."""
        return [values for engine in self.engines if (values := engine.values(metric))]

    def value(self, metric: str) -> float:
        """The metric's value: the median over engines of the median over iterations, in its unit of the table.

        Raises:
            NotMeasuredError: when no engine observed it, or no metric has this name.
        """
        if metric not in METRICS:
            raise NotMeasuredError(f"no metric is called {metric!r}")
        engines = self.samples(metric)
        if not engines:
            raise NotMeasuredError(f"{METRICS[metric].label} was not measured on {self.spec_label}")
        return stats.center(engines)

    def __getattr__(self, name: str) -> Any:
        """A metric by its name, or a distribution."""
        if name in DISTRIBUTIONS:
            return Distribution(self, name)
        if name in METRICS:
            return self.value(name)
        raise AttributeError(f"a measurement has no {name!r}; see METRICS in pytest_vllmperf.metrics.table")
