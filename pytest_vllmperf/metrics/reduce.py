"""From what an engine told of its iterations to samples per metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pytest_vllmperf import stats
from pytest_vllmperf.metrics.device import Roofline, device_metrics
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.records.devices import GpuUse, Span
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.samples import EngineSamples

_MEMORY = ("peak_activation", "non_torch", "cuda_graphs")
_TOLD = (
    "preemptions",
    "prefix_cache_hit_tokens",
    "kernels_compiled",
    "cpu_seconds",
    "resident_bytes",
    "torch_peak_bytes",
)


def iteration_metrics(result: RunResult) -> dict[str, float]:
    """Every metric that one iteration shows; a metric that was not observed is absent.

    Throughputs divide by the engine's own span, from the first `queued_ts` to the last `last_token_ts`; formulas
    and timestamps of each metric stand in `metrics.table`.

    Args:
        result: one iteration; requests that did not finish count for nothing.

    Returns:
        Metric name -> value in the unit of the table.
    """
    done = result.finished
    values = {
        "engine_steps": float(result.engine_steps),
        "prompt_tokens": float(sum(r.prompt_tokens for r in done)),
        "output_tokens": float(sum(r.output_tokens for r in done)),
    }
    for name in _TOLD:
        if (told := getattr(result, name)) is not None:
            values[name] = float(told)
    values |= _throughputs(done, result.span)
    for name, observed in _distributions(done, result).items():
        if observed:
            values |= {f"{name}.{point}": value for point, value in stats.summarize(observed).items()}
    # A clock too coarse for what it timed has observed nothing.
    return {name: value for name, value in values.items() if value > 0 or METRICS[name].may_be_zero}


def _throughputs(done: Sequence[RequestRecord], span: Span) -> dict[str, float]:
    duration = span[1] - span[0]
    if duration <= 0:
        return {}
    output = sum(r.output_tokens for r in done)
    return {
        "request_throughput": len(done) / duration,
        "output_throughput": output / duration,
        "total_token_throughput": (output + sum(r.prompt_tokens for r in done)) / duration,
    }


def _distributions(done: Sequence[RequestRecord], result: RunResult) -> dict[str, list[float]]:
    """Seconds per request, or per token for ITL. TPOT needs two tokens: a request with one has none."""
    return {
        "ttft": [r.first_token_ts - r.queued_ts for r in done],
        "tpot": [(r.last_token_ts - r.first_token_ts) / (r.output_tokens - 1) for r in done if r.output_tokens > 1],
        "itl": [gap * 1e-9 for gap in result.itl_ns],
        "e2e": [r.last_token_ts - r.queued_ts for r in done],
        "queue": [r.scheduled_ts - r.queued_ts for r in done],
        "prefill": [r.first_token_ts - r.scheduled_ts for r in done],
        "decode": [r.last_token_ts - r.first_token_ts for r in done],
    }


@dataclass(frozen=True)
class DeviceObservation:
    """What was seen of an engine's devices, from outside of it.

    Attributes:
        uses: what they did in each counted iteration; empty where nobody looked.
        engine_bytes: their memory that the engine held afterwards; None where that is not known.
        bandwidth: bytes/s of their memory, together; None where unknown.
    """

    uses: tuple[GpuUse | None, ...] = ()
    engine_bytes: int | None = None
    bandwidth: float | None = None


def engine_samples(
    facts: EngineFacts,
    warmup: Sequence[RunResult],
    iterations: Sequence[RunResult],
    *,
    cold_start: bool = False,
    device: DeviceObservation | None = None,
) -> EngineSamples:
    """What one engine start showed, ready to be judged and stored.

    Args:
        facts: what the engine told of itself.
        warmup: the discarded iterations, in order.
        iterations: the counted iterations, in order; at least one.
        cold_start: whether it was the first start of this engine in the run.
        device: what was seen of its devices; None on a CPU.
    """
    device = device or DeviceObservation()
    roofline = Roofline.of(facts, device.bandwidth)
    uses = device.uses or (None,) * len(iterations)
    counted = [
        {**iteration_metrics(result), **device_metrics(result, use, roofline)}
        for result, use in zip(iterations, uses, strict=True)
    ]
    return EngineSamples(
        cold_start=cold_start,
        discarded=len(warmup),
        iterations=len(iterations),
        warmup=_by_metric([iteration_metrics(result) for result in warmup], CLOCK_METRICS),
        samples=_by_metric(counted),
        once=_once(facts, device.engine_bytes, cold_start=cold_start),
        ttft_by_request=_ttft_by_request(iterations),
    )


def _by_metric(iterations: Sequence[Mapping[str, float]], wanted: Iterable[str] = METRICS) -> dict[str, list[float]]:
    """Only metrics that every iteration shows: samples of one metric must belong to known iterations."""
    shown = set(wanted).intersection(*(set(values) for values in iterations)) if iterations else set()
    return {name: [_digits(values[name]) for values in iterations] for name in sorted(shown)}


def _once(facts: EngineFacts, device_memory: int | None, *, cold_start: bool) -> dict[str, float]:
    total = facts.load_time.get("total")
    values = {"load_time": total, "load_time.cold": total if cold_start else None}
    values |= {f"load_time.{part}": facts.load_time.get(part) for part in ("import", "weights", "rest")}
    values["weight_bytes"] = facts.weights.weight_bytes if facts.weights is not None else None
    values["device_memory_used"] = device_memory
    values["kv_cache_tokens"] = facts.kv_cache_tokens
    values["kv_cache_bytes"] = facts.kv_cache_bytes
    values["kv_bytes_per_token"] = facts.kv_bytes_per_token
    if facts.memory is not None:
        values |= {f"memory.{name}": getattr(facts.memory, name) for name in _MEMORY}
    observed = {name: _digits(value) for name, value in values.items() if value is not None}
    return {name: value for name, value in observed.items() if value > 0 or METRICS[name].may_be_zero}


def _ttft_by_request(iterations: Sequence[RunResult]) -> list[float]:
    """Median TTFT over iterations for each request; empty unless all requests finished in all iterations."""
    requests = [request for result in iterations for request in result.requests]
    if not requests or any(request.finish_reason is None for request in requests):
        return []
    columns: dict[int, list[float]] = {}
    for request in requests:
        columns.setdefault(request.index, []).append(request.first_token_ts - request.queued_ts)
    return [_digits(median(columns[index])) for index in sorted(columns)]


def _digits(value: float) -> float:
    """Seven significant digits, far below any noise, so that a stored file can be read by a person.

    Whole numbers keep all of theirs: bytes and counters are exact.
    """
    return float(value) if float(value).is_integer() else float(f"{value:.7g}")
