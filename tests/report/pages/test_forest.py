"""The small picture of an interval."""

from __future__ import annotations

import re

import pytest

from pytest_vllmperf.records.verdict import MetricVerdict, Status
from pytest_vllmperf.report.pages.forest import forest


def judged(change: float, half: float, metric: str = "ttft.p50") -> MetricVerdict:
    return MetricVerdict(metric, Status.OK, 1.0, 1.0 + change, 0.05, change, change - half, change + half, 0.99)


def places(picture: str) -> list[float]:
    return [float(one) for one in re.findall(r'(?:x1|x2|cx|x)="([\d.]+)"', picture)]


def test_one_margin_is_as_wide_as_the_field() -> None:
    band, zero, same, low, high, at = places(forest(judged(0.05, 0.025)))
    assert (band, zero, same) == (66.0, 66.0, 66.0)
    assert (low, at, high) == (74.0, 82.0, 90.0)


def test_the_field_lies_on_the_worse_side() -> None:
    assert places(forest(judged(0, 0.01, "output_throughput")))[0] == 50.0


def test_what_lies_beyond_ends_in_an_arrow() -> None:
    picture = forest(judged(3.0, 0.1))
    assert "<circle" not in picture
    assert "<path" in picture


@pytest.mark.parametrize("one", [MetricVerdict("ttft.p50", Status.OK, 1.0, 1.0, 0.05)])
def test_without_an_interval_there_is_none(one: MetricVerdict) -> None:
    assert forest(one) == ""
