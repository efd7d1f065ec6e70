"""What the machine did, as metrics."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.metrics.reduce import iteration_metrics
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.host import HostUse
from tests.metrics.test_reduce import request, result


def test_load_and_steal_are_shares_and_may_be_zero() -> None:
    found = iteration_metrics(replace(result(request()), host=HostUse(0.75, 0.0)))
    assert (found["host.load"], found["host.steal"]) == (0.75, 0.0)
    assert not {"host.load", "host.steal"} & set(iteration_metrics(result(request())))


def test_they_belong_to_no_set_and_to_no_class_that_decides() -> None:
    both = [METRICS["host.load"], METRICS["host.steal"]]
    assert all(not one.gates for one in both)
    assert {one.name for one in METRICS.values() if one.kind is both[0].kind} == {"host.load", "host.steal"}
