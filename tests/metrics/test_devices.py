"""What an iteration cost on its devices, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.metrics.reduce import iteration_metrics
from pytest_vllmperf.metrics.roofline import Roofline
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.run import RequestRecord, RunResult

ROOFLINE = Roofline(5.85e9, 131_072, 4.9e12)


def request(index: int = 0, **changed: Any) -> RequestRecord:
    plain = RequestRecord(index, 1000, 101, 0, "length", 10.0, 10.1, 10.2, 12.0)
    return replace(plain, **changed)


def result(*requests: RequestRecord) -> RunResult:
    return RunResult(requests, (), 101, 0, 0, None, None, 2.0)


def shown(run: RunResult, use: GpuUse | None, roofline: Roofline | None) -> dict[str, float]:
    """What the devices add to the metrics of an iteration."""
    plain = iteration_metrics(run)
    return {name: value for name, value in iteration_metrics(run, use, roofline).items() if name not in plain}


USE = GpuUse(
    peak_bytes=130 * 2**30,
    energy=606.0,
    power=303.0,
    utilization=0.97,
    sm_clock=1.98e9,
    temperature=61.0,
    clock_events=0,
)


def test_what_the_devices_did_is_reported_with_joules_by_output_token() -> None:
    assert shown(result(request(), request(1)), USE, ROOFLINE) == pytest.approx(
        {
            "model_bandwidth_utilization": ROOFLINE.utilization(result(request(), request(1))),
            "gpu_memory_peak": 130 * 2**30,
            "gpu_utilization": 0.97,
            "gpu_power": 303.0,
            "gpu_energy": 606.0,
            "joules_per_token": 606 / 202,
            "tokens_per_joule": 202 / 606,
            "gpu_sm_clock": 1.98e9,
            "gpu_temperature": 61.0,
        }
    )


def test_tokens_of_requests_that_did_not_finish_are_not_paid_for() -> None:
    cut = request(1, finish_reason=None, output_tokens=50)
    assert shown(result(request(), cut), USE, None)["joules_per_token"] == pytest.approx(6.0)
    assert not {"joules_per_token", "tokens_per_joule"} & set(shown(result(cut), USE, None))


def test_every_value_is_a_float() -> None:
    assert {type(value) for value in shown(result(request()), USE, ROOFLINE).values()} == {float}


@pytest.mark.parametrize(
    ("untold", "absent"),
    [
        ("peak_bytes", {"gpu_memory_peak"}),
        ("energy", {"gpu_energy", "joules_per_token", "tokens_per_joule"}),
        ("power", {"gpu_power"}),
        ("utilization", {"gpu_utilization"}),
        ("sm_clock", {"gpu_sm_clock"}),
        ("temperature", {"gpu_temperature"}),
    ],
)
@pytest.mark.parametrize("nothing", [None, 0])
def test_what_was_not_observed_is_absent(untold: str, absent: set[str], nothing: int | None) -> None:
    whole = set(shown(result(request()), USE, ROOFLINE))
    part = set(shown(result(request()), replace(USE, **{untold: nothing}), ROOFLINE))
    assert whole - part == absent


def test_where_nobody_looked_only_the_roofline_is_known() -> None:
    assert set(shown(result(request()), None, ROOFLINE)) == {"model_bandwidth_utilization"}
    assert "model_bandwidth_utilization" not in shown(result(request()), USE, None)
    assert shown(result(request()), None, None) == {}
