"""Checks whose GPU waited for its host."""

from __future__ import annotations

import pytest

from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.report.host_bound import IDLE_SHARE, host_bound
from tests.report.test_terminal import RECORDED, record, summary


def idling(share: float, **changed: object) -> CheckRecord:
    return record(RECORDED, values={"output_throughput": 1.0, "gpu_idle_share": share}, **changed)


def test_it_says_how_long_the_gpu_idled_and_what_to_do() -> None:
    wanted = "host-bound: the GPU idled 48 % of the iteration; judge it by gpu_time, or use a larger model or batch"
    assert host_bound(idling(0.48)) == wanted


def test_from_a_quarter_on() -> None:
    assert host_bound(idling(IDLE_SHARE)) == ""
    assert host_bound(idling(IDLE_SHARE + 0.001)) != ""
    assert host_bound(record(RECORDED)) == "", "nobody knows"


@pytest.mark.parametrize("process", ["poisson", "trace"])
def test_between_arrivals_at_a_rate_a_gpu_idles_by_intention(process: str) -> None:
    assert host_bound(idling(0.9, workload={"arrivals": {"process": process}})) == ""


def test_the_summary_says_it_once_a_check() -> None:
    lines = summary([idling(0.48), idling(0.3, name="test_b"), idling(0.1, name="test_c")])
    told = [line for line in lines if "host-bound" in line]
    assert [line.split(":")[0] for line in told] == ["test_b", "test_chat"]
