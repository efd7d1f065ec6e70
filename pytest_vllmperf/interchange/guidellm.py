"""GuideLLM's `--output kind=json`: one object, with a benchmark for each rate.

Field names: `guidellm/benchmark/schemas/{report,benchmark,metrics}.py` and `guidellm/schemas/base/request_stats.py` of
GuideLLM 0.8.1. Its `inter_token_latency_ms` is our TPOT, its `time_per_output_token_ms` counts the first token too and
is nothing of ours; it does not tell single gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.fields import Fields, moment, portable, shown
from pytest_vllmperf.interchange.report import UNKNOWN, Format, Report
from pytest_vllmperf.interchange.requests import Answered, figures, totals, without_empty

TOOL: Final = "GuideLLM"
_VERSION: Final = 2
_MS: Final = 1e-3
_DISTRIBUTIONS: Final = {
    "ttft": ("time_to_first_token_ms", _MS),
    "tpot": ("inter_token_latency_ms", _MS),
    "e2e": ("request_latency", 1.0),
}
_RATES: Final = {
    "request_throughput": "requests_per_second",
    "output_throughput": "output_tokens_per_second",
    "total_token_throughput": "tokens_per_second",
}
_POINTS: Final = ("p50", "p90", "p95", "p99")
_CLIENT: Final = ("worker_count", "current_index")
"""Fields that GuideLLM sets itself; they say nothing of the work."""


def _recognise(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("benchmarks"), list) and "metadata" in value


def _read(documents: Sequence[Any]) -> list[Report]:
    return [report for one in documents for report in _runs(Fields(one))]


def _runs(found: Fields) -> list[Report]:
    metadata = found.inside("metadata")
    version = metadata.get("version")
    if version != _VERSION:
        raise ReportError(f"a GuideLLM report of version {shown(version)}; only version {_VERSION} is supported")
    benchmarks = found.objects("benchmarks") or []
    if len(benchmarks) != 1:
        raise ReportError(
            f"it holds {len(benchmarks)} benchmarks, but a run is exactly one; run GuideLLM with one rate per report"
        )
    return [_run(found.inside("config").inside("spec"), metadata, benchmarks[0])]


def _run(spec: Fields, metadata: Fields, found: Fields) -> Report:
    totals = found.inside("metrics").inside("request_totals")
    completed, failed = totals.needed_count("successful"), totals.count("errored") or 0
    backend = spec.inside("backend")
    requests = found.inside("requests").objects("successful") or []
    requests.sort(key=_queued)
    detailed = bool(completed) and len(requests) == completed  # GuideLLM can be told to keep a sample
    told = [_answered(one) for one in requests] if detailed else []
    ttfts = [] if failed else [one.ttft for one in told if one.ttft is not None]
    rates = _totals(requests) if detailed else {}
    config = found.inside("config")
    asked = _asked(config.inside("constraints"))
    if asked is not None and completed + failed < asked:
        raise ReportError(f"{completed + failed} of {asked} requests ended; the run did not finish")
    return Report(
        tool=TOOL,
        model=portable(backend.text("model")),
        completed=completed,
        failed=failed,
        asked=asked,
        figures={**_summary(found.inside("metrics")), **rates, **figures(told)} if completed else {},
        ttfts=ttfts,
        work=_work(spec, config),
        recorded=moment(found.number("start_time")),
        basis="" if detailed else "summary",
        facts={"version of guidellm": metadata.text("guidellm_version") or UNKNOWN},
    )


def _asked(constraints: Fields) -> int | None:
    """How many requests the run had to send; None where something else may end it."""
    return constraints.inside("max_requests").inside("args").count("count") if len(constraints) == 1 else None


def _queued(request: Fields) -> float:
    """Requests are queued in the order of the data; which of several client processes starts first is chance."""
    return request.inside("info").inside("timings").number("queued") or 0.0


def _started(request: Fields) -> float:
    return request.number("request_start_time") or 0.0


def _answered(request: Fields) -> Answered:
    ttft, each = request.number("time_to_first_token_ms"), request.number("inter_token_latency_ms")
    return Answered(
        ttft=None if ttft is None else ttft * _MS,
        e2e=request.number("request_latency"),
        tpot=each * _MS if each else None,  # zero where all tokens came at once
    )


def _totals(requests: Sequence[Fields]) -> dict[str, float]:
    """Counts and rates over the time from the first request's start to the last one's end."""
    prompts = sum(one.number("prompt_tokens") or 0 for one in requests)
    outputs = sum(one.number("output_tokens") or 0 for one in requests)
    ends = [one.number("request_end_time") or 0.0 for one in requests]
    seconds = max(ends) - min(_started(one) for one in requests)
    return totals(len(requests), prompts, outputs, seconds)


def _summary(metrics: Fields) -> dict[str, float]:
    told: dict[str, float | None] = {
        ours: metrics.inside(theirs).inside("successful").number("mean") for ours, theirs in _RATES.items()
    }
    for ours, (theirs, unit) in _DISTRIBUTIONS.items():
        summary = metrics.inside(theirs).inside("successful")
        points = {"mean": summary.number("mean")}
        points |= {point: summary.inside("percentiles").number(point) for point in _POINTS}
        told |= {f"{ours}.{point}": None if value is None else value * unit for point, value in points.items()}
    return without_empty({name: value for name, value in told.items() if value is not None})


def _work(spec: Fields, config: Fields) -> dict[str, Any]:
    """The strategy, what limits the run, and the data; not how many processes GuideLLM sends from."""
    backend = spec.inside("backend")
    told = {
        "strategy": _of_user(config.get("strategy")),
        "constraints": _of_user(config.get("constraints")),
        "warmup": config.get("warmup"),
        "cooldown": config.get("cooldown"),
        "data": spec.get("data"),
        "seed": spec.get("seed"),
        **{name: backend.get(name) for name in ("request_format", "stream", "max_tokens", "extras")},
    }
    return dict(portable(told))


def _of_user(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _of_user(one) for name, one in value.items() if name not in _CLIENT}
    return value


FORMAT: Final = Format("guidellm", f"{TOOL} --output kind=json", _recognise, _read)
