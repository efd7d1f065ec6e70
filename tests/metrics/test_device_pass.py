"""Metrics of the GPU's own clock, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.metrics.device_pass import DevicePassMetrics
from pytest_vllmperf.metrics.observed import PassIteration
from pytest_vllmperf.metrics.reduce import with_device_pass
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.waiting import without_waiting
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.kernels import Collective, DevicePass, KernelTime, ProfiledIteration, RankUse
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.samples import EngineSamples

KERNELS = (KernelTime("attention", 8, 0.02), KernelTime("matmul", 16, 0.06))
RANK = RankUse(24, 0.08, 0.075, 0.2, KERNELS, decode_steps=10, decode=0.05, prefill_steps=2, prefill=0.03)
SLOWER = RankUse(20, 0.09, 0.06, 0.3, KERNELS, decode_steps=10, decode=0.08, prefill_steps=2, prefill=0.01)
USE = GpuUse(None, None, None, 0.9, 1.98e9, None, 4, memory_clock=2.6e9, power_capped=0.25)
ENGINE = EngineSamples(discarded=0, iterations=1, samples={"output_throughput": [100.0]})


def took(seconds: float) -> RunResult:
    """An iteration of one request that took so long."""
    return RunResult((RequestRecord(0, 8, 4, 0, "length", 1.0, 1.0, 1.1, 1.0 + seconds),), (), 4, 0, 0, 0, 0, seconds)


def shown(*ranks: RankUse, duration: float = 0.1, use: GpuUse | None = USE) -> dict[str, float]:
    """What one iteration of a pass shows; an iteration took so long without a profiler."""
    one = PassIteration(ProfiledIteration(ranks, took(0.4)), duration, use)
    return {name: value for metric in METRICS.values() for name, value in metric.shown_by_pass(one).items()}


def test_one_rank_by_hand() -> None:
    assert shown(RANK) == pytest.approx(
        {
            "gpu_time": 0.08,
            "gpu_time.decode_step": 0.005,
            "gpu_time.prefill": 0.03,
            "gpu_busy": 0.075,
            "gpu_idle_share": 0.25,  # of the iteration without a profiler, which took 0.1 s
            "gpu_kernels": 24,
            "device_pass.sm_clock": 1.98e9,
            "device_pass.memory_clock": 2.6e9,
            "device_pass.power_capped": 0.25,
        }
    )


def test_of_several_ranks_the_one_with_the_most_to_do_decides_and_kernels_are_those_of_all() -> None:
    for ranks in ((RANK, SLOWER), (SLOWER, RANK)):
        found = shown(*ranks)
        assert (found["gpu_time"], found["gpu_busy"], found["gpu_kernels"]) == (0.09, 0.06, 44)
        assert (found["gpu_time.decode_step"], found["gpu_time.prefill"]) == (0.008, 0.01)
        assert found["gpu_idle_share"] == pytest.approx(0.4)


def test_waiting_for_other_ranks_is_no_gpu_time_and_is_shown_beside_it() -> None:
    late = replace(RANK, collectives=(Collective("matmul", "decode", (0.01, 0.02)),))
    waits = replace(RANK, total=0.12, decode=0.09, collectives=(Collective("matmul", "decode", (0.05, 0.02)),))
    ranks = without_waiting((late, waits))
    found = with_device_pass(ENGINE, [took(0.1)], DevicePass([ProfiledIteration(ranks, took(0.4))]))
    assert found.passes["gpu_time"] == [0.08]
    assert found.passes["gpu_time.decode_step"] == [0.005]
    assert found.passes["gpu_time.collective"] == [0.03]
    assert found.passes["gpu_time.waiting"] == [0.04]
    assert [table.seconds for table in found.kernels] == pytest.approx([0.08, 0.04])


def test_without_collectives_that_can_be_compared_nobody_knows_of_waiting() -> None:
    own, another = (replace(RANK, collectives=(Collective(name, "decode", (0.01, 0.02)),)) for name in ("a", "b"))
    for ranks in ((own,), (own, another), (RANK, RANK)):
        assert not {"gpu_time.collective", "gpu_time.waiting"} & set(shown(*without_waiting(ranks)))
    assert shown(*without_waiting((own, own)))["gpu_time.waiting"] == 0.0


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"decode_steps": 0, "decode": 0.0}, {"gpu_time.decode_step"}),
        ({"prefill_steps": 0, "prefill": 0.0}, {"gpu_time.prefill"}),
        ({"total": 0.0, "decode": 0.0, "prefill": 0.0, "busy": 0.0, "count": 0},
         {"gpu_time", "gpu_time.decode_step", "gpu_time.prefill", "gpu_busy", "gpu_kernels"}),
    ],
)  # fmt: skip
def test_what_did_not_happen_is_absent(changed: dict[str, Any], absent: set[str]) -> None:
    assert set(shown(RANK)) - set(shown(replace(RANK, **changed))) == absent


def test_a_gpu_that_is_always_busy_does_not_idle() -> None:
    assert shown(RANK, duration=0.075)["gpu_idle_share"] == 0.0
    assert shown(RANK, duration=0.07)["gpu_idle_share"] == 0.0, "a profiled iteration may take longer"
    assert "gpu_idle_share" not in shown(RANK, duration=0.0)


def test_where_nobody_read_nvml_there_are_no_clocks() -> None:
    clocks = {"device_pass.sm_clock", "device_pass.memory_clock", "device_pass.power_capped"}
    assert set(shown(RANK)) - set(shown(RANK, use=None)) == clocks
    silent = replace(USE, sm_clock=None, memory_clock=None, power_capped=None)
    assert shown(RANK, use=silent) == shown(RANK, use=None)
    assert shown(RANK, use=replace(USE, power_capped=0.0))["device_pass.power_capped"] == 0.0


def test_gpu_time_alone_decides_and_has_a_margin_of_its_own() -> None:
    declared = [one for one in vars(DevicePassMetrics).values() if getattr(one, "of_pass", None) is not None]
    assert [one.name for one in declared if one.gates] == ["gpu_time"]
    assert METRICS["gpu_time"].kind.own_margin == 0.01
    assert METRICS["output_throughput"].kind.own_margin is None


def test_an_engine_keeps_what_its_pass_showed_beside_its_counted_iterations() -> None:
    counted = [took(seconds) for seconds in (0.09, 0.1, 0.4)]
    found = DevicePass((ProfiledIteration((RANK,), took(0.5)), ProfiledIteration((SLOWER,), took(0.6))))
    engine = with_device_pass(ENGINE, counted, found, (USE, None))
    assert engine.samples == ENGINE.samples
    assert engine.passes["gpu_time"] == engine.values("gpu_time") == [0.08, 0.09]
    assert engine.passes["gpu_idle_share"] == [0.25, 0.4], "of the median measured iteration"
    assert "device_pass.sm_clock" not in engine.passes, "only one of two iterations has it"
    assert [one.name for one in engine.kernels[0].kernels] == ["matmul", "attention"]
    assert engine.no_device_pass == ""


def test_an_engine_without_a_pass_keeps_the_reason() -> None:
    engine = with_device_pass(ENGINE, [took(0.1)], DevicePass(reason="another profiler is attached"))
    assert (engine.passes, engine.kernels, engine.no_device_pass) == ({}, [], "another profiler is attached")
    assert engine.values("gpu_time") == []
