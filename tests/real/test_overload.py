"""`vllm serve` queues without a bound: under overload it is told by that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.lab import overloading
from pytest_vllmperf.records.overload import OverloadPlan
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.verdict.overload import problems_of
from pytest_vllmperf.workload import Workload

PLAN = OverloadPlan(Slo(ttft=0.5), seconds=5.0, margin=0.4, recovery=2.0)


@pytest.mark.long
def test_a_server_without_a_bound_on_its_queue_loses_its_goodput(start: Callable[..., Engine]) -> None:
    engine = start(backend="serve", max_num_seqs=2)
    work = Workload.synthetic(requests=10, input_tokens=16, output_tokens=64, concurrency=2)
    try:
        seen = overloading.overload(engine, work, PLAN, 1, lambda doing: None, lambda: None)
    finally:
        engine.close()
    problems = problems_of(seen, PLAN)
    assert [line for line in problems if line.startswith("queues for too long: ")], problems
    assert seen.load is not None
    assert (seen.load.failed, seen.shed, seen.refused, dict(seen.broken)) == (0, 0, 0, {})
    assert seen.queue_max is not None  # by vLLM's own /metrics
    assert seen.queue_max > 0
