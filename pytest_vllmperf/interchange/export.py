"""A check as results of `vllm bench serve`: an object for each engine start, in its field names and units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.entries import FAILED_REQUESTS
from pytest_vllmperf.interchange.vllm_serve import COUNTS, DATE, DISTRIBUTIONS, POINTS, RATES, TOOL, WORK
from pytest_vllmperf.records.samples import EngineSamples, Entry, Session


def vllm_results(name: str, entry: Entry) -> list[dict[str, Any]]:
    """The engine starts of a check, sessions in order.

    A figure is the median over the iterations of its engine. What was not measured is absent.

    Args:
        name: of the check; it becomes the label.
        entry: the check.

    Raises:
        ReportError: for a check that measured no throughput of requests: no such result is without it.
    """
    return [
        _result(name, entry, session, engine, failed)
        for session in entry.sessions
        for engine, failed in zip(session.engines, _failures(session), strict=True)
    ]


def lines(results: Sequence[Mapping[str, Any]]) -> str:
    """One object a line, as `vllm bench serve --append-result` writes them."""
    return "\n".join(json.dumps(one) for one in results)


def _failures(session: Session) -> list[int]:
    """How many requests failed on each engine; an engine of ours is stored only where none did."""
    told = session.environment.soft.get(FAILED_REQUESTS)
    found = [] if told is None else json.loads(told)
    return found if len(found) == len(session.engines) else [0] * len(session.engines)


def _result(name: str, entry: Entry, session: Session, engine: EngineSamples, failed: int) -> dict[str, Any]:
    figures = {metric: float(np.median(engine.values(metric))) for metric in engine.samples}
    if "request_throughput" not in figures:
        raise ReportError(f"{name}: no request throughput was measured, which a result of {TOOL} must contain")
    asked = entry.workload.get("count")
    requests = asked if isinstance(asked, int) else len(engine.ttft_by_request) + failed
    completed = requests - failed
    hard = session.environment.hard
    work: dict[str, Any] = {field: entry.workload[field] for field in WORK if field in entry.workload}
    ttfts = {"ttfts": engine.ttft_by_request} if engine.ttft_by_request else {}
    return {
        "date": _date(session.recorded),
        "endpoint_type": hard.get("backend"),
        "backend": hard.get("backend"),
        "label": name,
        "model_id": hard.get("model", ""),
        "tokenizer_id": session.environment.soft.get("tokenizer"),
        "num_prompts": requests,
        **work,
        "duration": completed / figures["request_throughput"],
        "completed": completed,
        "failed": failed,
        **{theirs: round(figures[ours]) for ours, theirs in COUNTS.items() if ours in figures},
        **{rate: figures[rate] for rate in RATES if rate in figures},
        **ttfts,
        **_latencies(figures),
    }


def _latencies(figures: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds; the median is there under both of its names."""
    found = {
        f"{word}_{theirs}_ms": figures[f"{ours}.{point}"] * 1000
        for ours, theirs in DISTRIBUTIONS.items()
        for point, word in POINTS.items()
        if f"{ours}.{point}" in figures
    }
    medians = {name.replace("median", "p50"): value for name, value in found.items() if name.startswith("median")}
    return {**found, **medians}


def _date(recorded: str) -> str:
    try:
        return datetime.fromisoformat(recorded.replace("Z", "+00:00")).strftime(DATE)
    except ValueError:
        return recorded
