"""What a client sees of a server: metrics of an iteration over HTTP, by hand."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.engines.over_http import Sent, ServerUse, run_result, token_gaps
from pytest_vllmperf.metrics.reduce import iteration_metrics, promised_samples
from pytest_vllmperf.records.answers import Answer, ClientAudit, ClientProcess
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.served import Served, ServerMetrics, Slo

MS = 10**6
AUDIT = ClientAudit(MS, 2 * MS, None, None, (ClientProcess(0.2, 0), ClientProcess(0.5, 0)))
ANSWER = Answer(
    index=0,
    due_ns=1000 * MS,
    sent_ns=1010 * MS,
    first_ns=1100 * MS,
    first_answer_ns=1150 * MS,
    last_ns=1300 * MS,
    end_ns=1310 * MS,
    prompt_tokens=32,
    cached_tokens=16,
    output_tokens=5,
    gaps_ns=array("q", [50 * MS, 150 * MS]),
    piece_tokens=array("q", [1, 1, 3]),
    finish_reason="length",
    status=200,
    server_ttft=0.08,
)
FAILED = Answer(index=1, due_ns=1000 * MS, sent_ns=1001 * MS, first_ns=1050 * MS, last_ns=1060 * MS, failure="cut")


def iteration(*answers: Answer, server: ServerMetrics | None = None, **changed: Any) -> RunResult:
    failures: dict[str, int] = {}
    for answer in answers:
        if answer.failure:
            failures[answer.failure] = failures.get(answer.failure, 0) + 1
    served = Served(AUDIT, answers, failures, server, **changed)
    return run_result(Sent(served, 0.4), ServerUse(cpu_seconds=0.25))


def test_one_answer_by_hand() -> None:
    found = iteration_metrics(iteration(ANSWER))
    expected = {
        "ttft.p50": 0.100,  # from when it was due
        "ttfat.p50": 0.150,
        "client_queue.p50": 0.010,
        "service.p50": 0.290,
        "transport.p50": 0.010,
        "tpot.p50": 0.200 / 4,
        "e2e.p50": 0.300,
        "output_throughput": 5 / 0.3,
        "client_cpu": 0.5,
        "client_lag": 0.002,
        "cpu_seconds": 0.25,
        "failed_requests": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert "queue.p50" not in found  # of the engine core's own scheduling a client knows nothing
    assert "engine_steps" not in found


def test_instructions_of_a_server_are_a_metric() -> None:
    served = Served(AUDIT, (ANSWER,), {}, None)
    found = iteration_metrics(run_result(Sent(served, 0.4), ServerUse(instructions=5e9)))
    assert found["cpu_instructions"] == 5e9


def test_a_piece_of_several_tokens_shares_its_gap() -> None:
    assert list(token_gaps(ANSWER)) == [50 * MS, 50 * MS, 50 * MS, 50 * MS]
    assert iteration_metrics(iteration(ANSWER))["icl.mean"] == pytest.approx(0.1)


def test_where_tokens_cannot_be_told_from_pieces_there_is_no_itl() -> None:
    found = iteration_metrics(iteration(replace(ANSWER, piece_tokens=array("q"))))
    assert "itl.p50" not in found
    assert found["icl.mean"] == pytest.approx(0.1)


def test_failed_requests_are_counted_and_never_enter_latencies() -> None:
    found = iteration_metrics(iteration(ANSWER, FAILED))
    assert found["failed_requests"] == 1
    assert found["ttft.mean"] == pytest.approx(0.1)
    assert found["request_throughput"] == pytest.approx(1 / 0.3)
    assert found["icl.mean"] == pytest.approx(0.1)


def test_an_iteration_in_process_has_none_of_it() -> None:
    plain = RunResult((), (), 3, 0, 0, 1.0, None, 1.0)
    names = {"failed_requests", "client_cpu", "client_lag", "icl.p50", "goodput", "server_ttft"}
    assert not names & set(iteration_metrics(plain))


def test_steady_throughput_counts_the_tokens_of_the_window_alone() -> None:
    # Tokens arrive at 1.1 (1), 1.15 (1) and 1.3 s (3).
    found = iteration_metrics(iteration(ANSWER, steady=(1.12, 1.32)))
    assert found["steady_output_throughput"] == pytest.approx(4 / 0.2)


def test_the_servers_own_figures() -> None:
    server = ServerMetrics(
        prefix_queries=64, prefix_hits=16, preemptions=2, queue_seconds=0.0, ttft_seconds=0.08, waiting_max=3,
        kv_usage_max=0.5, running_max=8,
    )  # fmt: skip
    result = iteration(ANSWER, server=server)
    found = iteration_metrics(result)
    expected = {
        "prefix_hit_share": 0.25, "preemptions": 2, "prefix_cache_hit_tokens": 16, "server_queue": 0.0,
        "server_ttft": 0.08, "waiting_max": 3, "kv_usage_max": 0.5, "running_max": 8,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_goodput_is_a_metric_once_something_is_promised() -> None:
    slow = replace(ANSWER, index=2, first_ns=1290 * MS)
    results = [iteration(ANSWER, slow, FAILED), iteration(ANSWER, ANSWER)]
    samples = promised_samples(results, Slo(ttft=0.2))
    assert samples["goodput"] == pytest.approx([1 / 3, 1.0])
    assert samples["goodput_rate"] == pytest.approx([1 / 0.3, 2 / 0.3])


def test_a_share_of_nothing_is_a_value_and_not_a_gap() -> None:
    """Else a server that fails in all of it would lose the metric, and with it the gate."""
    found = iteration_metrics(replace(iteration(ANSWER), valid_share=0.0), slo=Slo(ttft=1e-6))
    assert {name: found[name] for name in ("valid_share", "goodput", "goodput_rate")} == {
        "valid_share": 0, "goodput": 0, "goodput_rate": 0,
    }  # fmt: skip
    assert "valid_share" not in iteration_metrics(iteration(ANSWER))
