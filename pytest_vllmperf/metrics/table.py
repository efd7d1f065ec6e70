"""The one table of metrics: name, label, unit, direction, class and formula of everything that is measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.stats import Direction


class MetricClass(Enum):
    """What kind of judgement suits a metric."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    TAIL = "tail"
    EXACT = "exact"
    CPU_TIME = "cpu_time"
    LOAD = "load"
    MEMORY = "memory"
    DEVICE = "device"


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes:
        name: the name in files, options and assertions.
        label: the name in a report.
        unit: SI seconds `s` and bytes `B` inside; `report` converts.
        better: the direction that counts as an improvement.
        kind: its class.
        formula: what it is made of, with the engine's own names of the timestamps.
    """

    name: str
    label: str
    unit: str
    better: Direction
    kind: MetricClass
    formula: str

    @property
    def may_be_zero(self) -> bool:
        """Whether zero is a value: of a counter, or of a span that can be empty. A rate or a duration has none."""
        return self.kind is MetricClass.EXACT or self.name.partition(".")[0] in ("queue", "decode", "itl")


_DISTRIBUTIONS = (
    ("ttft", "TTFT", "first_token_ts - queued_ts of a request: queue and prefill, engine clock"),
    ("tpot", "TPOT", "(last_token_ts - first_token_ts) / (output tokens - 1) of a request"),
    ("itl", "ITL", "gap between two tokens of one request as the engine emitted them"),
    ("e2e", "E2E latency", "last_token_ts - queued_ts of a request"),
    ("queue", "queue time", "scheduled_ts - queued_ts of a request; first scheduling only"),
    ("prefill", "prefill time", "first_token_ts - scheduled_ts of a request"),
    ("decode", "decode time", "last_token_ts - first_token_ts of a request"),
)
DISTRIBUTIONS = tuple(name for name, _, _ in _DISTRIBUTIONS)
_POINTS = (
    ("mean", "mean", MetricClass.LATENCY),
    ("p50", "p50", MetricClass.LATENCY),
    ("p90", "p90", MetricClass.TAIL),
    ("p95", "p95", MetricClass.TAIL),
    ("p99", "p99", MetricClass.TAIL),
)


def _rows() -> tuple[Metric, ...]:
    higher, lower = Direction.HIGHER, Direction.LOWER
    duration = "duration = last last_token_ts - first queued_ts"
    rows = [
        Metric("output_throughput", "output throughput", "tok/s", higher, MetricClass.THROUGHPUT,
               f"output tokens / duration; {duration}"),
        Metric("request_throughput", "request throughput", "req/s", higher, MetricClass.THROUGHPUT,
               f"finished requests / duration; {duration}"),
        Metric("total_token_throughput", "total token throughput", "tok/s", higher, MetricClass.THROUGHPUT,
               f"(prompt + output tokens) / duration; {duration}"),
    ]  # fmt: skip
    for name, label, formula in _DISTRIBUTIONS:
        rows += [
            Metric(
                f"{name}.{point}",
                f"{label} {shown}",
                "s",
                lower,
                kind,
                f"{shown} over requests of: {formula}",
            )
            for point, shown, kind in _POINTS
        ]
    exact, device = MetricClass.EXACT, MetricClass.DEVICE
    rows += [
        Metric("engine_steps", "engine steps", "", lower, exact,
               "steps of the engine core that emitted tokens"),
        Metric("preemptions", "preemptions", "", lower, exact,
               "requests thrown out of the KV cache and started again"),
        Metric("prefix_cache_hit_tokens", "prefix cache hits", "tokens", higher, exact,
               "prompt tokens found in the prefix cache"),
        Metric("weight_bytes", "weights", "B", lower, exact,
               "bytes that loading the weights took, as vLLM counts them; on a CPU the checkpoint's tensors"),
        Metric("kv_bytes_per_token", "KV bytes per token", "B", lower, exact,
               "KV cache bytes / KV cache capacity in tokens, where all layers share one group of blocks"),
        Metric("kv_cache_tokens", "KV cache capacity", "tokens", higher, exact,
               "KV blocks x block size; with several groups of layers what vLLM makes of them"),
        Metric("kv_cache_bytes", "KV cache", "B", higher, exact,
               "bytes of the worker's KV cache tensors"),
        Metric("prompt_tokens", "prompt tokens", "tokens", lower, exact,
               "prompt tokens of all finished requests"),
        Metric("output_tokens", "output tokens", "tokens", higher, exact,
               "generated tokens of all finished requests"),
        Metric("kernels_compiled", "kernels compiled", "", lower, exact,
               "Triton kernels and torch.compile graphs that were compiled during an iteration, all ranks"),
        Metric("torch_peak_bytes", "torch peak", "B", lower, exact,
               "most device memory allocated by torch since the engine started, without the KV cache, all ranks; only "
               "where the KV cache takes at least what vLLM's profiling run took before there was one"),
        Metric("cpu_seconds", "engine CPU time", "s", lower, MetricClass.CPU_TIME,
               "user and system time of the engine's processes during an iteration"),
        Metric("device_memory_used", "device memory", "B", lower, MetricClass.MEMORY,
               "device memory of the engine's processes after the last iteration, as NVML counts it"),
        Metric("memory.peak_activation", "peak activation", "B", lower, MetricClass.MEMORY,
               "what vLLM's profiling run took beside the weights, all ranks"),
        Metric("memory.non_torch", "non-torch memory", "B", lower, MetricClass.MEMORY,
               "device memory of the workers outside of torch, as vLLM profiled it"),
        Metric("memory.cuda_graphs", "CUDA graphs", "B", lower, MetricClass.MEMORY,
               "what torch reserved in the pools of CUDA graphs"),
        Metric("gpu_memory_peak", "GPU memory peak", "B", lower, MetricClass.MEMORY,
               "most memory in use at once on the engine's devices during an iteration, by any process (NVML, v2)"),
        Metric("gpu_utilization", "GPU utilization", "share", higher, device,
               "mean share of time with a kernel running during an iteration (NVML)"),
        Metric("gpu_power", "GPU power", "W", lower, device,
               "mean power of the engine's devices during an iteration, together (NVML)"),
        Metric("gpu_energy", "GPU energy", "J", lower, device,
               "energy of the engine's devices during an iteration, by NVML's counter, else power over time"),
        Metric("joules_per_token", "energy per output token", "J/tok", lower, device,
               "GPU energy / output tokens"),
        Metric("tokens_per_joule", "output tokens per joule", "tok/J", higher, device,
               "output tokens / GPU energy"),
        Metric("gpu_sm_clock", "SM clock", "Hz", higher, device,
               "median SM clock of the slowest device during an iteration (NVML)"),
        Metric("gpu_temperature", "GPU temperature", "°C", lower, device,
               "highest temperature during an iteration (NVML)"),
        Metric("model_bandwidth_utilization", "memory bandwidth used", "share", higher, device,
               "(weight bytes + KV bytes read in a step) x steps/s / the devices' memory bandwidth; not for models "
               "with experts or layers that differ"),
        Metric("resident_bytes", "resident memory", "B", lower, MetricClass.MEMORY,
               "resident set of the engine's processes after an iteration"),
        Metric("load_time", "load time", "s", lower, MetricClass.LOAD,
               "from the call of vllm.LLM to its return"),
        Metric("load_time.cold", "load: cold start", "s", lower, MetricClass.LOAD,
               "load time of the first start of this engine in a run, when caches may have been empty"),
        Metric("load_time.import", "load: import", "s", lower, MetricClass.LOAD,
               "import of vLLM in the interpreter's server process; shared by its engines"),
        Metric("load_time.weights", "load: weights", "s", lower, MetricClass.LOAD,
               "vLLM's own 'Loading weights took'"),
        Metric("load_time.rest", "load: rest", "s", lower, MetricClass.LOAD,
               "load time - weights: configuration, profiling, KV cache, warm-up"),
    ]  # fmt: skip
    return tuple(rows)


METRICS: dict[str, Metric] = {metric.name: metric for metric in _rows()}

# Not among them, though exact: the size of the KV cache, which vLLM may fit to the memory that it finds free, and the
# lengths of prompts and outputs, which the workload prescribes.
EXACT_METRICS = ("engine_steps", "preemptions", "prefix_cache_hit_tokens", "weight_bytes", "kv_bytes_per_token")
CLOCK_METRICS = ("output_throughput", "ttft.p50", "tpot.p50", "e2e.p50")
GATES = {
    "exact": EXACT_METRICS,
    "clock": CLOCK_METRICS,
    "cpu": ("cpu_seconds",),
    "vram": ("weight_bytes", "kv_bytes_per_token", "kv_cache_tokens", "torch_peak_bytes"),
    "energy": ("joules_per_token",),
}


def resolve_gate(words: tuple[str, ...], device: str) -> tuple[str, ...]:
    """The metrics that decide: names of metrics or of the sets of `GATES`, and `auto`.

    `auto` is the clock on a GPU. On a CPU, where wall time depends on the neighbours more than on the engine, it
    is the counters that are exact on any machine; the clock is shown there, and gated when asked for.

    Args:
        words: as the user wrote them.
        device: the engine's device, `cuda`, `cpu` or `simulated`.

    Returns:
        Metric names in the order of the table, each once.

    Raises:
        SpecError: for a word that names no metric and no set.
    """
    wanted: set[str] = set()
    for word in words:
        if word == "auto":
            wanted.update(EXACT_METRICS if device == "cpu" else CLOCK_METRICS)
        elif word in GATES:
            wanted.update(GATES[word])
        elif word in METRICS:
            wanted.add(word)
        else:
            raise SpecError(f"no metric or set is called {word!r}; sets: auto, {', '.join(GATES)}; "
                            f"metrics: {', '.join(METRICS)}")  # fmt: skip
    return tuple(name for name in METRICS if name in wanted)
