"""A trace of an H200 that decodes: what the reductions make of what NVML really told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from pytest_vllmperf.metrics.gpu_use import energy, newcomers, use
from pytest_vllmperf.records.devices import GpuReading, GpuTrace

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "traces" / "h200-awq.json").read_text())
TOKENS = RECORDED["output_tokens"]
SPANS = [(begin, end) for begin, end in RECORDED["spans"]]


def reading(told: dict[str, Any]) -> GpuReading:
    return GpuReading(**{**told, "processes": {int(pid): held for pid, held in told["processes"].items()}})


TRACE = GpuTrace("GPU-0", tuple(map(reading, RECORDED["trace"]["readings"])))


def test_twenty_readings_a_second_went_on_while_the_engine_worked() -> None:
    gaps = [b.at - a.at for a, b in zip(TRACE.readings, TRACE.readings[1:], strict=False)]
    assert fmean(gaps) == pytest.approx(0.05, rel=0.05)
    assert max(gaps) < 0.2


@pytest.mark.parametrize("span", SPANS)
def test_energy_of_an_iteration_is_its_power_over_time(span: tuple[float, float]) -> None:
    """Counter and power are two instruments of NVML's own."""
    by_counter = energy(TRACE, span)
    by_power = energy(GpuTrace("GPU-0", tuple(replace(one, energy=None) for one in TRACE.readings)), span)
    assert by_counter == pytest.approx(by_power, rel=0.02)
    assert by_counter == pytest.approx(402 * (span[1] - span[0]), rel=0.02)


def test_iterations_of_equal_work_take_equal_energy() -> None:
    each = [energy(TRACE, span) or 0.0 for span in SPANS]
    assert max(each) / min(each) < 1.03
    assert fmean(each) / TOKENS == pytest.approx(RECORDED["joules_per_token"], rel=0.01)


@pytest.mark.parametrize("span", SPANS)
def test_what_the_gpu_did_in_an_iteration(span: tuple[float, float]) -> None:
    found = use([TRACE], span)
    assert found is not None
    assert found.utilization is not None
    assert found.utilization > 0.9
    assert found.sm_clock == 1.98e9
    assert found.clock_events == 0
    assert found.temperature == pytest.approx(47, abs=2)
    assert found.peak_bytes == pytest.approx(127.0 * 2**30, rel=0.01)


def test_nobody_came() -> None:
    assert newcomers(TRACE, (SPANS[0][0], SPANS[-1][1])) == {}
    assert {tuple(one.processes or ()) for one in TRACE.readings} == {(1000,)}  # vLLM's engine core
