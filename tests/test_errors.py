"""The nearest name for a wrong one."""

import pytest

from pytest_vllmperf.errors import did_you_mean

KNOWN = ["ttft.mean", "ttft.p50", "ttft.p90", "ttft.p95", "output_throughput"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ttft.p5", "ttft.p50"),  # as like to p95; p50 begins like it
        ("ttft.p5O", "ttft.p50"),
        ("TTFT.P95", "ttft.p95"),
        ("throughput", "output_throughput"),
        ("output_troughput", "output_throughput"),
    ],
)
def test_the_nearest_name(name: str, near: str) -> None:
    assert did_you_mean(name, KNOWN) == f"; did you mean {near!r}?"


@pytest.mark.parametrize("name", ["speed", "", "xyz"])
def test_nothing_is_near(name: str) -> None:
    assert did_you_mean(name, KNOWN) == ""
    assert did_you_mean(name, []) == ""
