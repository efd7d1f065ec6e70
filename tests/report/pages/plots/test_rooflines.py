"""The roofline: where a measurement stands below it, and what is missing where there is none."""

from __future__ import annotations

import pytest

from pytest_vllmperf.records.check_report import CheckReport, MetricReport
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.report.pages.plots.rooflines import missing, roofline
from tests.report.pages.material import rich_check

LIMITS = RooflineLimits(memory_bandwidth=2e12, flops=8e14, weights=5_000_000_000)


def valued(limits: RooflineLimits | None, used: float | None, tokens: float | None) -> CheckReport:
    check = rich_check(roofline=limits)

    def of(name: str, value: float | None) -> MetricReport:
        return check.metrics[name].model_copy(update={"value": value})

    metrics = {name: of(name, value) for name, value in
               (("model_bandwidth_utilization", used), ("total_token_throughput", tokens))}  # fmt: skip
    return check.model_copy(update={"metrics": metrics})


def test_the_place_of_a_measurement() -> None:
    figure = roofline(valued(LIMITS, 0.5, 1000.0))
    assert figure is not None
    roof, point = figure.traces
    assert point["x"] == pytest.approx([1e13 / 1e12])  # 2 x weights x tokens/s over half of the bandwidth
    assert point["y"] == pytest.approx([10.0])
    assert roof["x"][1] == pytest.approx(400.0)
    assert roof["y"][1:] == pytest.approx([800.0, 800.0])
    assert figure.remark == "50 % of what the GPUs can do at this intensity"


@pytest.mark.parametrize(
    ("limits", "used", "told"),
    [
        (LIMITS.model_copy(update={"flops": None}), 0.5, "the peak of this GPU's arithmetic"),
        (LIMITS.model_copy(update={"weights": None}), 0.5, "the number of weights that a token is multiplied with"),
        (LIMITS, None, "memory bandwidth used"),
    ],
)
def test_what_is_missing_is_named(limits: RooflineLimits, used: float | None, told: str) -> None:
    check = valued(limits, used, 1000.0)
    assert roofline(check) is None
    assert missing(check) == told


def test_on_a_cpu_nothing_is_said() -> None:
    assert roofline(valued(None, None, 1000.0)) is None
    assert missing(valued(None, None, 1000.0)) == ""
