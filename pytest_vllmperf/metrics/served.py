"""Metrics of engines that are driven over HTTP: what only a client sees, and what a server says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.distribution import DistributionMetrics
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.observed import Iteration
from pytest_vllmperf.metrics.units import COUNT, NEAR_WHOLE, REQUESTS_PER_SECOND, SECONDS, SHARE, TOKENS_PER_SECOND
from pytest_vllmperf.records.run import RequestRecord
from pytest_vllmperf.records.scheduling import Occupation
from pytest_vllmperf.records.served import Served, ServerMetrics
from pytest_vllmperf.stats import Direction, FloatArray

_HIGHER: Final = Direction.HIGHER
_LOWER: Final = Direction.LOWER
_CLIENT: Final = Clock.CLIENT
_SERVER: Final = Clock.ENGINE
_NS: Final = 1e-9
_PAGE: Final = "`/metrics`, before and after"
_SAMPLED: Final = "stat logger, once a step; over HTTP `/metrics`, once a second"


def _of_answer(seconds: Callable[[RequestRecord], float | None]) -> Callable[[RequestRecord], float | None]:
    """A figure of a request that only a client sees; None for a request that no client sent."""
    return lambda one: None if one.answer is None else seconds(one)


def _client_queue(one: RequestRecord) -> float | None:
    answer = one.answer
    return None if answer is None or answer.sent_ns is None else (answer.sent_ns - answer.due_ns) * _NS


def _service(one: RequestRecord) -> float | None:
    answer = one.answer
    if answer is None or answer.sent_ns is None or answer.last_ns is None:
        return None
    return (answer.last_ns - answer.sent_ns) * _NS


def _first_answer(one: RequestRecord) -> float | None:
    answer = one.answer
    if answer is None or answer.first_answer_ns is None:
        return None
    return (answer.first_answer_ns - answer.due_ns) * _NS


def _outside_core(one: RequestRecord) -> float | None:
    answer = one.answer
    if answer is None or answer.server_ttft is None or answer.first_ns is None or answer.sent_ns is None:
        return None
    return (answer.first_ns - answer.sent_ns) * _NS - answer.server_ttft


def _chunk_gaps(one: Iteration) -> FloatArray:
    gaps = [each.answer.gaps_ns for each in one.requests if each.answer is not None]
    return np.concatenate([np.empty(0), *map(np.asarray, gaps)]) * _NS


def _of_served(figure: Callable[[Served], float | None]) -> Callable[[Iteration], float | None]:
    """A figure of an iteration over HTTP; None in process."""
    return lambda one: None if one.result.served is None else figure(one.result.served)


def _of_server(figure: Callable[[ServerMetrics], float | None]) -> Callable[[Iteration], float | None]:
    """A figure that a server says of itself; None where there is none, or it says nothing."""
    return _of_served(lambda served: None if served.server is None else figure(served.server))


def _most(
    step_by_step: Callable[[Occupation], float | None], sampled: Callable[[ServerMetrics], float | None]
) -> Callable[[Iteration], float | None]:
    """How full an engine was: of every step in process, of samples over HTTP."""
    of_server = _of_server(sampled)
    return lambda one: of_server(one) if one.result.occupation is None else step_by_step(one.result.occupation)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _steady_throughput(served: Served) -> float | None:
    """Tokens that arrived while a closed loop was full, a second; pieces count as tokens where nothing else tells."""
    if served.steady is None:
        return None
    begin, end = served.steady
    tokens = 0
    for answer in served.answers:
        if answer.failure or answer.first_ns is None:
            continue
        at, pieces = answer.first_ns, answer.piece_tokens or [1] * (len(answer.gaps_ns) + 1)
        for gap, count in zip([0, *answer.gaps_ns], pieces, strict=False):
            at += gap
            tokens += count if begin <= at * _NS < end else 0
    return tokens / (end - begin) if end > begin else None


class ServedMetrics:
    """What a client sees of a server, and what the server says of itself."""

    goodput = Metric(
        "goodput", "goodput", NEAR_WHOLE, _HIGHER, MetricClass.THROUGHPUT, _CLIENT,
        gates=(Gate.CLOCK,),
        if_measured=True,
        zero=True,
        formula="requests that met the SLO of `assert_slo` / all requests, including failed ones",
        of=lambda one: one.goodput,
    )  # fmt: skip
    goodput_rate = Metric(
        "goodput_rate", "goodput rate", REQUESTS_PER_SECOND, _HIGHER, MetricClass.THROUGHPUT, _CLIENT,
        zero=True,
        formula="requests that met the SLO of `assert_slo` / (last last_token_ts - first queued_ts)",
        of=lambda one: None if one.kept is None else one.per_second(one.kept),
    )  # fmt: skip
    max_rate = Metric(
        "max_rate", "highest rate", REQUESTS_PER_SECOND, _HIGHER, MetricClass.THROUGHPUT, _CLIENT,
        gates=(Gate.CLOCK,),
        if_measured=True,
        formula="highest arrival rate that meets the SLO of `find_max_rate`, by an isotonic fit",
        of=lambda one: one.result.max_rate,
    )  # fmt: skip
    steady_output_throughput = Metric(
        "steady_output_throughput", "steady output throughput", TOKENS_PER_SECOND, _HIGHER, MetricClass.THROUGHPUT,
        _CLIENT,
        formula="tokens per second that arrived while at least 95 % of a closed loop's concurrency was in flight",
        of=_of_served(_steady_throughput),
    )  # fmt: skip
    failed_requests = Metric(
        "failed_requests", "failed requests", COUNT, _LOWER, MetricClass.EXACT, Clock.NONE,
        formula="requests without a complete answer, for any reason",
        gates=(Gate.EXACT, Gate.CLOCK),
        if_measured=True,
        of=_of_served(lambda served: sum(served.failures.values())),
    )  # fmt: skip
    valid_share = Metric(
        "valid_share", "valid answers", NEAR_WHOLE, _HIGHER, MetricClass.THROUGHPUT, Clock.NONE,
        gates=(Gate.CLOCK, Gate.EXACT),
        if_measured=True,
        zero=True,
        formula="answers that match their JSON schema or whose tool calls do / answers that must match one",
        source="`jsonschema`",
        of=lambda one: one.result.valid_share,
    )  # fmt: skip
    icl = DistributionMetrics(
        "icl",
        "inter-chunk latency",
        _CLIENT,
        formula="gap between two chunks with content of one answer, however many tokens each holds",
        of=_chunk_gaps,
        zero=True,
        over="gaps",
        observations=lambda engine: min(engine.values("output_tokens"), default=0),
    )
    ttfat = DistributionMetrics(
        "ttfat",
        "time to first answer token",
        _CLIENT,
        formula="first chunk that is not reasoning - when the request was due",
        of_request=_of_answer(_first_answer),
    )
    client_queue = DistributionMetrics(
        "client_queue",
        "client queue time",
        _CLIENT,
        formula="when the request was sent - when it was due",
        of_request=_of_answer(_client_queue),
        zero=True,
    )
    service = DistributionMetrics(
        "service",
        "service time",
        _CLIENT,
        formula="last token - when the request was sent: E2E latency without queueing in the client",
        of_request=_of_answer(_service),
    )
    transport = DistributionMetrics(
        "transport",
        "TTFT outside the engine core",
        _CLIENT,
        formula="(first token at the socket - when the request was sent) - (queue time + prefill time of the request, "
        "by the engine core's clock)",
        source="`--enable-per-request-metrics`",
        of_request=_of_answer(_outside_core),
        zero=True,
    )
    client_lag = Metric(
        "client_lag", "client lag p99", SECONDS, _LOWER, MetricClass.TAIL, _CLIENT,
        formula="p99 of: when a request was sent - when it was due",
        zero=True,
        of=_of_served(lambda served: served.audit.lag_p99_ns * _NS),
    )  # fmt: skip
    client_cpu = Metric(
        "client_cpu", "client CPU", SHARE, _LOWER, MetricClass.CPU_TIME, _CLIENT,
        formula="CPU time / wall time of the busiest client process",
        of=_of_served(lambda served: max((one.cpu_share for one in served.audit.processes), default=None)),
    )  # fmt: skip
    server_ttft = Metric(
        "server_ttft", "server TTFT mean", SECONDS, _LOWER, MetricClass.LATENCY, _SERVER,
        formula="mean over requests, by the server's own clock",
        source=_PAGE,
        of=_of_server(lambda server: server.ttft_seconds),
    )  # fmt: skip
    server_queue = Metric(
        "server_queue", "server queue time mean", SECONDS, _LOWER, MetricClass.LATENCY, _SERVER,
        formula="mean seconds until a request was scheduled",
        source=_PAGE,
        zero=True,
        of=_of_server(lambda server: server.queue_seconds),
    )  # fmt: skip
    prefix_hit_share = Metric(
        "prefix_hit_share", "prefix cache hit share", SHARE, _HIGHER, MetricClass.THROUGHPUT, Clock.NONE,
        formula="prompt tokens found in the prefix cache / prompt tokens looked up",
        source=_PAGE,
        zero=True,
        of=_of_server(lambda server: _share(server.prefix_hits, server.prefix_queries)),
    )  # fmt: skip
    running_max = Metric(
        "running_max", "most requests running", COUNT, _HIGHER, MetricClass.DEVICE, _SERVER,
        formula="maximum number of requests running in the engine at the same time",
        source=_SAMPLED,
        zero=True,
        of=_most(lambda most: most.running, lambda server: server.running_max),
    )  # fmt: skip
    waiting_max = Metric(
        "waiting_max", "most requests waiting", COUNT, _LOWER, MetricClass.DEVICE, _SERVER,
        formula="maximum number of requests waiting in the engine at the same time",
        source=_SAMPLED,
        zero=True,
        of=_most(lambda most: most.waiting, lambda server: server.waiting_max),
    )  # fmt: skip
    kv_usage_max = Metric(
        "kv_usage_max", "peak KV cache use", SHARE, _LOWER, MetricClass.DEVICE, _SERVER,
        formula="peak share of the KV cache in use",
        source=_SAMPLED,
        zero=True,
        of=_most(lambda most: most.kv_usage, lambda server: server.kv_usage_max),
    )  # fmt: skip
