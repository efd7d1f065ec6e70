"""`vllm bench serve --save-result`, of Python and of Rust: one object a run; `--append-result` adds more to the file.

Field names: `vllm/benchmarks/serve.py` (`main_async`, `benchmark`) and `rust/src/bench/src/output/json.rs`
(`build_result_json`). The Rust client is told by `input_throughput`, which Python's does not write; its date is ISO's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.fields import Fields, iso, portable
from pytest_vllmperf.interchange.report import Format, Report
from pytest_vllmperf.interchange.requests import Answered, figures, tpot, without_empty

TOOL: Final = "vllm bench serve"
RUST: Final = "vllm-rs bench serve"
"""The Rust client counts as another tool: what it costs a client to receive a token is part of each figure."""
DATE: Final = "%Y%m%d-%H%M%S"
POINTS: Final = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
DISTRIBUTIONS: Final = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}
RATES: Final = ("request_throughput", "output_throughput", "total_token_throughput")
WORK: Final = (
    "endpoint_type", "num_prompts", "request_rate", "burstiness", "max_concurrency", "ramp_up_strategy",
    "ramp_up_start_rps", "ramp_up_end_rps", "mode", "num_conversations", "turns_per_conversation",
    "multi_turn_concurrency", "inter_turn_delay_ms",
)  # fmt: skip
"""Fields that say what was sent, and how."""
COUNTS: Final = {"prompt_tokens": "total_input_tokens", "output_tokens": "total_output_tokens"}
_FACTS: Final = {"tokenizer": "tokenizer_id", "label": "label"}


def _recognise(value: Any) -> bool:
    return isinstance(value, Mapping) and {"request_throughput", "completed", "model_id"} <= value.keys()


def _read(documents: Sequence[Any]) -> list[Report]:
    several = len(documents) > 1
    return [_run(Fields(one, f"run {at}" if several else "")) for at, one in enumerate(documents, start=1)]


def _run(found: Fields) -> Report:
    completed = found.needed_count("completed")
    failed = found.count("failed")
    if failed is None:  # older versions do not tell
        failed = max((found.count("num_prompts") or 0) - completed, 0)
    answered = _answered(found, completed)
    ttfts = [] if failed else found.numbers("ttfts") or []
    work = {name: found.get(name) for name in WORK if found.get(name) is not None}
    return Report(
        tool=_tool(found),
        model=portable(found.text("model_id")),
        completed=completed,
        failed=failed,
        asked=completed + failed,  # a data set may have fewer than were wanted
        figures={**_summary(found), **figures(answered)} if completed else {},
        ttfts=ttfts if all(value > 0 for value in ttfts) else (),
        work=portable(work),
        prompt_tokens=None if failed else found.count("total_input_tokens"),  # it leaves out those that failed
        recorded=iso(found.text("date"), DATE) or iso(found.text("date")),
        facts={name: portable(text) for name, field in _FACTS.items() if (text := found.text(field))},
    )


def _tool(found: Fields) -> str:
    return RUST if found.get("input_throughput") is not None or found.get("backend") == RUST else TOOL


def _summary(found: Fields) -> dict[str, float]:
    """What the report itself says."""
    told: dict[str, float | None] = {name: found.number(name) for name in RATES}
    told |= {ours: found.number(theirs) for ours, theirs in COUNTS.items()}
    for ours, theirs in DISTRIBUTIONS.items():
        for point, word in POINTS.items():
            value = found.number(f"{word}_{theirs}_ms")
            told[f"{ours}.{point}"] = None if value is None else value / 1000
    return without_empty({name: value for name, value in told.items() if value is not None})


def _answered(found: Fields, completed: int) -> list[Answered]:
    """The requests that were answered; none where the report does not tell of each, or does not tell which failed."""
    latencies = found.numbers("latencies")
    ttfts, gaps, tokens = found.numbers("ttfts"), found.rows("itls"), found.numbers("output_lens")
    if ttfts is None or gaps is None or tokens is None:
        alone = latencies is not None and len(latencies) == completed
        return [Answered(None, value) for value in latencies or ()] if alone else []
    errors = found.items("errors")
    errors = [""] * len(ttfts) if errors is None else errors
    columns: dict[str, Sequence[Any]] = {
        "itls": gaps,
        "output_lens": tokens,
        "errors": errors,
        "latencies": latencies or ttfts,
    }
    for name, column in columns.items():
        if len(column) != len(ttfts):
            raise ReportError(f"{found.path(name)} lists {len(column)} requests, but ttfts lists {len(ttfts)}")
    chosen = [at for at in range(len(ttfts)) if not errors[at]]
    if len(chosen) != completed:
        return []
    ends = latencies or [ttft + sum(row) for ttft, row in zip(ttfts, gaps, strict=True)]
    return [_request(ttfts[at], ends[at], gaps[at], tokens[at]) for at in chosen]


def _request(ttft: float, latency: float, gaps: Sequence[float], tokens: float) -> Answered:
    """One request. A TTFT of zero means that the endpoint did not stream."""
    if not ttft:
        return Answered(None, latency)
    return Answered(ttft, latency, tpot(ttft, latency, tokens), gaps)


FORMAT: Final = Format("vllm", f"{TOOL} --save-result", _recognise, _read)
