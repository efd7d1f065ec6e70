"""Metrics that the engine counts: steps, tokens, bytes that are the same on any machine, and CPU time."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass, Start
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.units import BYTES, COUNT, SECONDS, TOKENS
from pytest_vllmperf.stats import Direction

_HIGHER: Final = Direction.HIGHER
_LOWER: Final = Direction.LOWER
_EXACT: Final = MetricClass.EXACT
_NONE: Final = Clock.NONE
_WORKER: Final = "worker extension"


class CounterMetrics:
    """What an engine counted. Exact but for CPU time."""

    engine_steps = Metric(
        "engine_steps", "engine steps", COUNT, _LOWER, _EXACT, _NONE,
        formula="steps of the engine core that emitted tokens",
        source="stat logger, once a step",
        gates=(Gate.EXACT,),
        of=lambda one: one.result.engine_steps,
    )  # fmt: skip
    preemptions = Metric(
        "preemptions", "preemptions", COUNT, _LOWER, _EXACT, _NONE,
        formula="requests evicted from the KV cache and restarted",
        source="`IterationStats.num_preempted_reqs`",
        gates=(Gate.EXACT,),
        of=lambda one: one.result.preemptions,
    )  # fmt: skip
    prefix_cache_hit_tokens = Metric(
        "prefix_cache_hit_tokens", "prefix cache hits", TOKENS, _HIGHER, _EXACT, _NONE,
        formula="prompt tokens found in the prefix cache",
        source="`RequestOutput.num_cached_tokens`, summed; over HTTP `/metrics`, before and after",
        gates=(Gate.EXACT,),
        of=lambda one: one.result.prefix_cache_hit_tokens,
    )  # fmt: skip
    weight_bytes = Metric(
        "weight_bytes", "weights", BYTES, _LOWER, _EXACT, _NONE,
        formula="device memory used by loading the model, as counted by vLLM (CUDA); size of the checkpoint's "
        "tensors in the dtype they are loaded as (CPU build); parameters and buffers (transformers reference)",
        source=_WORKER,
        gates=(Gate.EXACT, Gate.VRAM),
        of_start=lambda one: None if one.facts.weights is None else one.facts.weights.weight_bytes,
    )  # fmt: skip
    kv_bytes_per_token = Metric(
        "kv_bytes_per_token", "KV bytes per token", BYTES, _LOWER, _EXACT, _NONE,
        formula="kv_cache_bytes / kv_cache_tokens, where all layers share one group of blocks",
        source=_WORKER,
        gates=(Gate.EXACT, Gate.VRAM),
        of_start=lambda one: one.facts.kv_bytes_per_token,
    )  # fmt: skip
    # The size of the KV cache is not in the set `exact`: vLLM may fit it to the memory that it finds free.
    kv_cache_tokens = Metric(
        "kv_cache_tokens", "KV cache capacity", TOKENS, _HIGHER, _EXACT, _NONE,
        formula="KV blocks x block size; with several groups of layers, as computed by vLLM",
        source="`cache_config`",
        gates=(Gate.VRAM,),
        of_start=lambda one: one.facts.kv_cache_tokens,
    )  # fmt: skip
    kv_cache_bytes = Metric(
        "kv_cache_bytes", "KV cache", BYTES, _HIGHER, _EXACT, _NONE,
        formula="bytes of the worker's KV cache tensors",
        source=_WORKER,
        of_start=lambda one: one.facts.kv_cache_bytes,
    )  # fmt: skip
    # Lengths are in no set: the workload prescribes them.
    prompt_tokens = Metric(
        "prompt_tokens", "prompt tokens", TOKENS, _LOWER, _EXACT, _NONE,
        formula="prompt tokens of all finished requests",
        source="`RequestOutput`",
        of=lambda one: one.prompt_tokens,
    )  # fmt: skip
    output_tokens = Metric(
        "output_tokens", "output tokens", TOKENS, _HIGHER, _EXACT, _NONE,
        formula="generated tokens of all finished requests",
        source="`RequestOutput`",
        of=lambda one: one.output_tokens,
    )  # fmt: skip
    kernels_compiled = Metric(
        "kernels_compiled", "kernels compiled", COUNT, _LOWER, _EXACT, _NONE,
        formula="Triton kernels and torch.compile graphs compiled during an iteration, all ranks",
        source="Triton's hook, dynamo's counters",
        of=lambda one: one.result.kernels_compiled,
    )  # fmt: skip
    # A start that compiles graphs has another peak than one that finds them in a cache.
    torch_peak_bytes = Metric(
        "torch_peak_bytes", "torch peak", BYTES, _LOWER, _EXACT, _NONE,
        formula="peak of the device memory allocated by torch since the engine started, without the KV cache, "
        "all ranks; only if the KV cache is at least as large as what vLLM's profiling run used before the "
        "cache existed",
        source=_WORKER,
        gates=(Gate.VRAM,),
        start=Start.WARM,
        of=lambda one: one.result.torch_peak_bytes,
    )  # fmt: skip
    cpu_seconds = Metric(
        "cpu_seconds", "engine CPU time", SECONDS, _LOWER, MetricClass.CPU_TIME, Clock.ENGINE,
        formula="user and system time of the engine's processes during an iteration",
        source="`time.process_time`, psutil for other processes",
        gates=(Gate.CPU,),
        of=lambda one: one.result.cpu_seconds,
    )  # fmt: skip
    cpu_instructions = Metric(
        "cpu_instructions", "CPU instructions", COUNT, _LOWER, MetricClass.CPU_TIME, Clock.ENGINE,
        formula="instructions executed in user mode by the engine's processes during an iteration; only on a "
        "CPU with hardware counters",
        source="`perf_event_open`",
        gates=(Gate.CPU,),
        if_measured=True,
        of=lambda one: one.result.instructions,
    )  # fmt: skip
