"""AIPerf's `profile_export_aiperf.json`, its `profile_export.jsonl` of single requests, or both in one folder.

Field names: `aiperf/common/models/{export_models,record_models}.py`; schema 1.4 of AIPerf 0.13. Its
`inter_token_latency` is our TPOT, its `inter_chunk_latency` the gaps. The summary counts tokens with AIPerf's own
tokenizer; where a request has the server's usage, that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.fields import Fields, iso, moment, portable, shown
from pytest_vllmperf.interchange.report import UNKNOWN, Format, Report
from pytest_vllmperf.interchange.requests import Answered, figures, totals, tpot, without_empty

TOOL: Final = "AIPerf"
_MAJOR: Final = "1"
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0, "s": 1.0}
_DISTRIBUTIONS: Final = {
    "ttft": "time_to_first_token",
    "tpot": "inter_token_latency",
    "itl": "inter_chunk_latency",
    "e2e": "request_latency",
}
_RATES: Final = {
    "request_throughput": "request_throughput",
    "output_throughput": "output_token_throughput",
    "total_token_throughput": "total_token_throughput",
}
_POINTS: Final = {"mean": "avg", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_NOT_WORK: Final = (
    "artifacts",
    "output",
    "tokenizer",
    "models",
    "urls",
    "url",
    "model_names",
    "cli_command",
    "api_key",
)
"""Fields that are not part of the work: addresses, names, and where AIPerf writes."""


def _is_request(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("metadata"), Mapping) and "metrics" in value


def _is_summary(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    one = value.get("request_latency")
    return "input_config" in value and isinstance(one, (Mapping, type(None)))


def _recognise(value: Any) -> bool:
    return _is_summary(value) or (_is_request(value) and "request_start_ns" in value["metadata"])


def _read(documents: Sequence[Any]) -> list[Report]:
    summaries = [Fields(one) for one in documents if _is_summary(one)]
    records = [Fields(one, f"record {at}") for at, one in enumerate(documents, start=1) if not _is_summary(one)]
    if len(summaries) > 1:
        raise ReportError(f"it holds {len(summaries)} summaries, but a run has exactly one")
    summary = summaries[0] if summaries else Fields({})
    _check_version(summary)
    if summary.get("was_cancelled") or summary.get("is_complete") is False:
        raise ReportError("the run was cancelled before it finished")
    records = [one for one in records if one.inside("metadata").get("benchmark_phase") in (None, "profiling")]
    records.sort(key=_order)
    config = summary.inside("input_config")
    good = [one for one in records if one.get("error") is None and not one.inside("metadata").get("was_cancelled")]
    completed = len(good) if records else _count(summary, "request_count")
    failed = len(records) - len(good) if records else _count(summary, "error_request_count")
    told = [_answered(one) for one in good]
    rates = _totals(good) if good else {}
    return [
        Report(
            tool=TOOL,
            model=_model(config),
            completed=completed,
            failed=failed,
            figures={**_summary(summary), **rates, **figures(told)} if completed else {},
            ttfts=[] if failed else [one.ttft for one in told if one.ttft is not None],
            work=_work(config),
            prompt_tokens=None if failed or summaries else int(rates.get("prompt_tokens", 0)) or None,
            basis="requests" if records else "summary",
            recorded=_recorded(summary, records),
            facts={"version of aiperf": summary.text("aiperf_version") or UNKNOWN} if summaries else {},
        )
    ]


def _check_version(summary: Fields) -> None:
    version = summary.get("schema_version")  # the first releases had none
    if version is not None and str(version).partition(".")[0] != _MAJOR:
        raise ReportError(f"an AIPerf report of schema {shown(version)}; only schemas {_MAJOR}.x are supported")


def _order(record: Fields) -> tuple[float, float]:
    metadata = record.inside("metadata")
    return metadata.number("session_num") or 0.0, metadata.number("turn_index") or 0.0


def _count(summary: Fields, name: str) -> int:
    value = summary.inside(name).number("avg")
    if value is None and name == "request_count":
        raise summary.missing(name)
    return int(value or 0)


def _seconds(found: Fields, value: float | None) -> float | None:
    unit = found.get("unit")
    if value is None:
        return None
    if not isinstance(unit, str) or unit not in _UNITS:
        raise found.wrong("unit", f"is not a supported unit of time: {', '.join(_UNITS)}")
    return value * _UNITS[unit]


def _answered(record: Fields) -> Answered:
    metrics = record.inside("metrics")
    ttft, e2e = (_value(metrics, name) for name in ("time_to_first_token", "request_latency"))
    chunks = metrics.inside("inter_chunk_latency")
    gaps = [_seconds(chunks, gap) or 0.0 for gap in chunks.numbers("value") or ()]
    each = tpot(ttft, e2e, _tokens(metrics, "output")) if ttft is not None and e2e is not None else None
    return Answered(ttft, e2e, each, gaps)


def _value(metrics: Fields, name: str) -> float | None:
    found = metrics.inside(name)
    return _seconds(found, found.number("value"))


def _tokens(metrics: Fields, which: str) -> float | None:
    """Tokens of a request by the server's usage; by AIPerf's tokenizer where there is none."""
    names = {
        "output": ("usage_completion_tokens", "output_sequence_length"),
        "prompt": ("usage_prompt_tokens", "input_sequence_length"),
    }
    values = [metrics.inside(name).number("value") for name in names[which]]
    return next((value for value in values if value is not None), None)


def _totals(records: Sequence[Fields]) -> dict[str, float]:
    """Counts and rates over the time from the first request's start to the last one's end."""
    prompts, outputs = (sum(_tokens(one.inside("metrics"), which) or 0 for one in records)
                        for which in ("prompt", "output"))  # fmt: skip
    metadata = [one.inside("metadata") for one in records]
    ends = [one.number("request_end_ns") or 0.0 for one in metadata]
    seconds = (max(ends) - min(one.number("request_start_ns") or 0.0 for one in metadata)) * 1e-9
    return totals(len(records), prompts, outputs, seconds)


def _summary(summary: Fields) -> dict[str, float]:
    told: dict[str, float | None] = {ours: summary.inside(theirs).number("avg") for ours, theirs in _RATES.items()}
    for ours, theirs in _DISTRIBUTIONS.items():
        found = summary.inside(theirs)
        told |= {f"{ours}.{point}": _seconds(found, found.number(word)) for point, word in _POINTS.items()}
    return without_empty({name: value for name, value in told.items() if value is not None})


def _model(config: Fields) -> str:
    """Its name, as the configuration of each generation of AIPerf has it; several are one text."""
    items = config.inside("models").items("items") or []
    names = [str(one.get("name")) for one in items if isinstance(one, Mapping)]
    names = names or [str(one) for one in config.inside("endpoint").items("model_names") or []]
    return ", ".join(str(portable(name)) for name in names)


def _work(config: Fields) -> dict[str, Any]:
    told = {name: config.get(name) for name in ("endpoint", "datasets", "phases", "input", "loadgen")}
    return dict(portable(_of_work(told)))


def _of_work(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _of_work(one) for name, one in value.items() if name not in _NOT_WORK}
    return [_of_work(one) for one in value] if isinstance(value, list) else value


def _recorded(summary: Fields, records: Sequence[Fields]) -> str:
    if started := iso(summary.text("start_time")):
        return started
    nanoseconds = [one.inside("metadata").number("request_start_ns") for one in records]
    known = [one for one in nanoseconds if one is not None]
    return moment(min(known) * 1e-9) if known else ""


FORMAT: Final = Format(
    "aiperf",
    f"{TOOL}'s profile_export_aiperf.json and profile_export.jsonl",
    _recognise,
    _read,
    ("profile_export_aiperf.json", "profile_export.jsonl"),
)
