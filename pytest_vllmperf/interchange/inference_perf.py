"""inference-perf's `summary_lifecycle_metrics.json`, `stage_N_...`, or `per_request_lifecycle_metrics.json`.

Field names: `inference_perf/reportgen/base.py` (`summarize_requests`, `generate_reports`) of inference-perf 0.7. Its
reports name no model and no data set, and nothing by which a request of one run would be found in another. The summary
counts tokens with its own tokenizer; of single requests the server's usage counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.fields import Fields
from pytest_vllmperf.interchange.report import Format, Report
from pytest_vllmperf.interchange.requests import Answered, figures, totals, tpot, without_empty

TOOL: Final = "inference-perf"
_DISTRIBUTIONS: Final = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2e": "request_latency",
}
_RATES: Final = {
    "request_throughput": "requests_per_sec",
    "output_throughput": "output_tokens_per_sec",
    "total_token_throughput": "total_tokens_per_sec",
}
_POINTS: Final = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
_WORK: Final = ("requested_rate", "concurrency")


def _is_summary(value: Any) -> bool:
    return isinstance(value, Mapping) and {"load_summary", "successes", "failures"} <= value.keys()


def _is_requests(value: Any) -> bool:
    def one(item: Any) -> bool:
        return isinstance(item, Mapping) and {"start_time", "end_time", "info", "error"} <= item.keys()

    return isinstance(value, list) and bool(value) and one(value[0])


def _recognise(value: Any) -> bool:
    return _is_summary(value) or _is_requests(value)


def _read(documents: Sequence[Any]) -> list[Report]:
    """One run: its summary, its requests, or both."""
    summaries = [Fields(one) for one in documents if _is_summary(one)]
    lists = [one for one in documents if not _is_summary(one)]
    if len(summaries) > 1 or len(lists) > 1:
        raise ReportError("it holds several reports, but a run has one summary and one list of requests")
    if not lists:
        return [_of_summary(summaries[0])]
    return [_of_requests([Fields(one, f"request {at}") for at, one in enumerate(lists[0], start=1)])]


def _of_summary(found: Fields) -> Report:
    load, successes = found.inside("load_summary"), found.inside("successes")
    completed, failed = successes.needed_count("count"), found.inside("failures").count("count") or 0
    throughput, latency = successes.inside("throughput"), successes.inside("latency")
    told: dict[str, float | None] = {ours: throughput.number(theirs) for ours, theirs in _RATES.items()}
    for ours, theirs in _DISTRIBUTIONS.items():
        points = latency.inside(theirs)
        told |= {f"{ours}.{point}": points.number(word) for point, word in _POINTS.items()}
    known = without_empty({name: value for name, value in told.items() if value is not None})
    return Report(
        tool=TOOL,
        model="",
        completed=completed,
        failed=failed,
        asked=load.count("count"),
        figures=known if completed else {},
        work={name: load.get(name) for name in _WORK if load.get(name) is not None},
        basis="summary",
    )


def _of_requests(requests: Sequence[Fields]) -> Report:
    good = [one for one in requests if one.get("error") is None]
    told = [_answered(one) for one in good]
    totals = _totals(good) if good else {}
    return Report(
        tool=TOOL,
        model="",
        completed=len(good),
        failed=len(requests) - len(good),
        asked=len(requests),
        figures={**totals, **figures(told)},
        basis="requests",
    )


def _answered(request: Fields) -> Answered:
    start, end = request.number("start_time"), request.number("end_time")
    if start is None or end is None:
        raise request.missing("start_time" if start is None else "end_time")
    response = request.inside("info").inside("response_metrics")
    times = response.numbers("output_token_times") or []
    if not times:
        return Answered(None, end - start)
    tokens = _tokens(response)
    told_apart = tokens == len(times)  # else its tokenizer counted others than the server
    gaps = [after - before for before, after in pairwise(times)] if told_apart else []
    return Answered(times[0] - start, end - start, tpot(times[0], times[-1], tokens), gaps)


def _tokens(response: Fields) -> float | None:
    counted = response.inside("server_usage").number("completion_tokens")
    return response.number("output_tokens") if counted is None else counted


def _totals(requests: Sequence[Fields]) -> dict[str, float]:
    """Counts and rates over the time from the first request's start to the last one's end."""
    prompts = sum(one.inside("info").number("input_tokens") or 0 for one in requests)
    outputs = sum(_tokens(one.inside("info").inside("response_metrics")) or 0 for one in requests)
    starts, ends = ([one.number(name) or 0.0 for one in requests] for name in ("start_time", "end_time"))
    seconds = max(ends) - min(starts)
    return totals(len(requests), prompts, outputs, seconds)


FORMAT: Final = Format(
    "inference-perf",
    f"{TOOL}'s summary, stage_N and per_request_lifecycle_metrics.json",
    _recognise,
    _read,
    ("summary_lifecycle_metrics.json", "per_request_lifecycle_metrics.json"),
)
