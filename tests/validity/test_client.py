"""The rule `client`: the load generator must never be the limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.records.answers import Answer, ClientAudit, ClientProcess
from pytest_vllmperf.records.served import Served
from pytest_vllmperf.validity.client import limit

MS = 10**6
SOUND = ClientAudit(100_000, MS, 50.0, 49.9, (ClientProcess(0.3, 200_000), ClientProcess(0.4, 100_000)))


def served(audit: ClientAudit, ttft_ms: int = 100) -> Served:
    return Served(audit, tuple(Answer(index, due_ns=0, first_ns=ttft_ms * MS) for index in range(3)))


def test_a_client_that_keeps_up_is_no_limit() -> None:
    assert limit(served(SOUND)) == ""


@pytest.mark.parametrize(
    ("ttft_ms", "lag_ms", "is_limit"),
    [
        (100, 9, False),
        (100, 11, True),  # 10 ms, where 5 % of the TTFT is less
        (1000, 40, False),
        (1000, 51, True),  # 5 % of 1 s
    ],
)
def test_late_requests_are_set_against_the_ttft(ttft_ms: int, lag_ms: int, is_limit: bool) -> None:
    found = limit(served(replace(SOUND, lag_p99_ns=lag_ms * MS), ttft_ms))
    assert bool(found) is is_limit
    if is_limit:
        assert f"requests were sent {lag_ms}.0 ms late (p99)" in found


@pytest.mark.parametrize(("ttft_ms", "lag_us", "is_limit"), [(100, 4900, False), (100, 5100, True), (2, 400, False)])
def test_a_median_that_is_late_moves_every_latency(ttft_ms: int, lag_us: int, is_limit: bool) -> None:
    found = limit(served(replace(SOUND, lag_p50_ns=lag_us * 1000), ttft_ms))
    assert bool(found) is is_limit
    assert ("ms late (p50), more than 5.0 ms" in found) is is_limit


def test_a_full_core_is_a_limit_whichever_process_it_is() -> None:
    busy = replace(SOUND, processes=(ClientProcess(0.2, 0), ClientProcess(0.95, 7 * MS)))
    found = limit(served(busy))
    assert "a client process used 95% of its core, more than 90% (49.9 of 50 requests/s sent); free" in found
    assert "--vllmperf-client-processes" in found


@pytest.mark.parametrize(("ttft_ms", "delay_ms", "is_limit"), [(100, 9, False), (100, 11, True), (1000, 40, False)])
def test_an_event_loop_that_is_late_is_a_limit_where_nothing_is_due_at_a_time(
    ttft_ms: int, delay_ms: int, is_limit: bool
) -> None:
    late = replace(SOUND, lag_p50_ns=0, lag_p99_ns=0, processes=(ClientProcess(0.8, delay_ms * MS),))
    found = limit(served(late, ttft_ms))
    assert bool(found) is is_limit
    assert ("its event loop was 11.0 ms late (p99), more than 10.0 ms" in found) is is_limit


def test_several_reasons_are_told_apart() -> None:
    late = replace(SOUND, lag_p99_ns=11 * MS, processes=(ClientProcess(0.3, 12 * MS),))
    assert ", more than 10.0 ms, and its event loop was 12.0 ms late" in limit(served(late))


def test_without_any_answer_the_lag_alone_decides() -> None:
    late = replace(SOUND, lag_p99_ns=11 * MS)
    assert limit(Served(late))
    assert not limit(Served(SOUND))
