"""Metrics of requests as they are served: throughput and latencies."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.distribution import DistributionMetrics
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.units import REQUESTS_PER_SECOND, TOKENS_PER_SECOND
from pytest_vllmperf.records.run import RequestRecord
from pytest_vllmperf.stats import Direction

_HIGHER: Final = Direction.HIGHER
_THROUGHPUT: Final = MetricClass.THROUGHPUT
_ENGINE: Final = Clock.ENGINE
_DURATION: Final = "(last last_token_ts - first queued_ts)"
_TIMESTAMPS: Final = "`RequestOutput.metrics`"


def _tpot(one: RequestRecord) -> float | None:
    """TPOT needs two tokens: a request with one has none."""
    return (one.last_token_ts - one.first_token_ts) / (one.output_tokens - 1) if one.output_tokens > 1 else None


class ServingMetrics:
    """Throughput and latencies of an iteration, by the engine's own timestamps."""

    output_throughput = Metric(
        "output_throughput", "output throughput", TOKENS_PER_SECOND, _HIGHER, _THROUGHPUT, _ENGINE,
        formula=f"output tokens / {_DURATION}",
        source=_TIMESTAMPS,
        gates=(Gate.CLOCK,),
        of=lambda one: one.per_second(one.output_tokens),
    )  # fmt: skip
    request_throughput = Metric(
        "request_throughput", "request throughput", REQUESTS_PER_SECOND, _HIGHER, _THROUGHPUT, _ENGINE,
        formula=f"finished requests / {_DURATION}",
        source=_TIMESTAMPS,
        of=lambda one: one.per_second(len(one.requests)),
    )  # fmt: skip
    total_token_throughput = Metric(
        "total_token_throughput", "total token throughput", TOKENS_PER_SECOND, _HIGHER, _THROUGHPUT, _ENGINE,
        formula=f"(prompt + output tokens) / {_DURATION}",
        source=_TIMESTAMPS,
        of=lambda one: one.per_second(one.prompt_tokens + one.output_tokens),
    )  # fmt: skip
    ttft = DistributionMetrics(
        "ttft",
        "TTFT",
        _ENGINE,
        formula="first_token_ts - queued_ts of a request",
        source=f"{_TIMESTAMPS}; queue and prefill, without tokenizing and transport",
        of_request=lambda one: one.first_token_ts - one.queued_ts,
        gates=(Gate.CLOCK,),
        stored_by_request=lambda engine: engine.ttft_by_request,
    )
    tpot = DistributionMetrics(
        "tpot",
        "TPOT",
        _ENGINE,
        formula="(last_token_ts - first_token_ts) / (output tokens - 1) of a request of at least two",
        source=_TIMESTAMPS,
        of_request=_tpot,
        gates=(Gate.CLOCK,),
    )
    itl = DistributionMetrics(
        "itl",
        "ITL",
        _ENGINE,
        formula="gap between two tokens of one request as the engine emitted them",
        source="`IterationStats.inter_token_latencies_iter`",
        of=lambda one: [gap * 1e-9 for gap in one.result.itl_ns],
        zero=True,
        over="gaps",
        observations=lambda engine: min(engine.values("output_tokens"), default=0),
    )
    e2e = DistributionMetrics(
        "e2e",
        "E2E latency",
        _ENGINE,
        formula="last_token_ts - queued_ts of a request",
        source=_TIMESTAMPS,
        of_request=lambda one: one.last_token_ts - one.queued_ts,
        gates=(Gate.CLOCK,),
    )
    queue = DistributionMetrics(
        "queue",
        "queue time",
        _ENGINE,
        formula="scheduled_ts - queued_ts of a request",
        source=f"{_TIMESTAMPS}; first scheduling only",
        of_request=lambda one: one.scheduled_ts - one.queued_ts,
        zero=True,
    )
    prefill = DistributionMetrics(
        "prefill",
        "prefill time",
        _ENGINE,
        formula="first_token_ts - scheduled_ts of a request",
        source=_TIMESTAMPS,
        of_request=lambda one: one.first_token_ts - one.scheduled_ts,
    )
    decode = DistributionMetrics(
        "decode",
        "decode time",
        _ENGINE,
        formula="last_token_ts - first_token_ts of a request",
        source=_TIMESTAMPS,
        of_request=lambda one: one.last_token_ts - one.first_token_ts,
        zero=True,
    )
