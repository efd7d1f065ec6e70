"""Metrics of requests as they are served: throughput and latencies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.distribution import DistributionMetrics
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.promises import tpot_of
from pytest_vllmperf.metrics.units import REQUESTS_PER_SECOND, TOKENS_PER_SECOND
from pytest_vllmperf.records.run import RequestRecord
from pytest_vllmperf.stats import Direction

_HIGHER: Final = Direction.HIGHER
_THROUGHPUT: Final = MetricClass.THROUGHPUT
_ENGINE: Final = Clock.ENGINE
_BOUNDARY: Final = Clock.BOUNDARY
_DURATION: Final = "(last last_token_ts - first queued_ts)"
_TIMESTAMPS: Final = "`RequestOutput.metrics`"
_EITHER: Final = f"{_TIMESTAMPS}; over HTTP the client's socket"


def _after_scheduling(end: Callable[[RequestRecord], float]) -> Callable[[RequestRecord], float | None]:
    """Seconds from scheduling until then; None for a request whose scheduling nobody saw, as over HTTP."""
    return lambda one: None if one.scheduled_ts is None else end(one) - one.scheduled_ts


def _queue(one: RequestRecord) -> float | None:
    return None if one.scheduled_ts is None else one.scheduled_ts - one.queued_ts


class ServingMetrics:
    """Throughput and latencies of an iteration: by the engine's own timestamps in process, by the client's over HTTP.

    Figures of the two never share a baseline: the boundary is one of the keys that must match.
    """

    output_throughput = Metric(
        "output_throughput", "output throughput", TOKENS_PER_SECOND, _HIGHER, _THROUGHPUT, _BOUNDARY,
        formula=f"output tokens / {_DURATION}",
        source=_EITHER,
        gates=(Gate.CLOCK,),
        of=lambda one: one.per_second(one.output_tokens),
    )  # fmt: skip
    request_throughput = Metric(
        "request_throughput", "request throughput", REQUESTS_PER_SECOND, _HIGHER, _THROUGHPUT, _BOUNDARY,
        formula=f"finished requests / {_DURATION}",
        source=_EITHER,
        of=lambda one: one.per_second(len(one.requests)),
    )  # fmt: skip
    total_token_throughput = Metric(
        "total_token_throughput", "total token throughput", TOKENS_PER_SECOND, _HIGHER, _THROUGHPUT, _BOUNDARY,
        formula=f"(prompt + output tokens) / {_DURATION}",
        source=_EITHER,
        of=lambda one: one.per_second(one.prompt_tokens + one.output_tokens),
    )  # fmt: skip
    ttft = DistributionMetrics(
        "ttft",
        "TTFT",
        _BOUNDARY,
        formula="first_token_ts - queued_ts of a request",
        source=f"{_TIMESTAMPS}: without tokenization and transport; over HTTP with both, counted from when the "
        f"request was due",
        of_request=lambda one: one.first_token_ts - one.queued_ts,
        gates=(Gate.CLOCK,),
        stored_by_request=lambda engine: engine.ttft_by_request,
    )
    tpot = DistributionMetrics(
        "tpot",
        "TPOT",
        _BOUNDARY,
        formula="(last_token_ts - first_token_ts) / (output tokens - 1) of a request of at least two",
        source=_EITHER,
        of_request=tpot_of,
        gates=(Gate.CLOCK,),
    )
    itl = DistributionMetrics(
        "itl",
        "ITL",
        _BOUNDARY,
        formula="gap between two tokens of one request as the engine emitted them",
        source="`IterationStats.inter_token_latencies_iter`; over HTTP if each chunk holds one token",
        of=lambda one: np.asarray(one.result.itl_ns, dtype=float) * 1e-9,
        zero=True,
        over="gaps",
        observations=lambda engine: min(engine.values("output_tokens"), default=0),
    )
    e2e = DistributionMetrics(
        "e2e",
        "E2E latency",
        _BOUNDARY,
        formula="last_token_ts - queued_ts of a request",
        source=_EITHER,
        of_request=lambda one: one.last_token_ts - one.queued_ts,
        gates=(Gate.CLOCK,),
    )
    queue = DistributionMetrics(
        "queue",
        "queue time",
        _ENGINE,
        formula="scheduled_ts - queued_ts of a request",
        source=f"{_TIMESTAMPS}; first scheduling only",
        of_request=_queue,
        zero=True,
    )
    prefill = DistributionMetrics(
        "prefill",
        "prefill time",
        _ENGINE,
        formula="first_token_ts - scheduled_ts of a request",
        source=_TIMESTAMPS,
        of_request=_after_scheduling(lambda one: one.first_token_ts),
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
