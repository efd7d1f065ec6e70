"""Metrics of the GPU's own clock: what CUPTI recorded in the iterations of a device pass."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.observed import PassIteration
from pytest_vllmperf.metrics.units import COUNT, HERTZ, SECONDS, SHARE
from pytest_vllmperf.stats import Direction

_HIGHER: Final = Direction.HIGHER
_LOWER: Final = Direction.LOWER
_TIME: Final = MetricClass.GPU_TIME
_DEVICE: Final = Clock.DEVICE
_CUPTI: Final = "CUPTI, in the iterations of the device pass"
_WAITING: Final = "gpu_time.waiting"


def _idle_share(one: PassIteration) -> float | None:
    return max(0.0, 1 - one.slowest.busy / one.duration) if one.duration > 0 else None


class DevicePassMetrics:
    """What the engine's GPUs did by their own clock."""

    gpu_time = Metric(
        "gpu_time", "GPU time", SECONDS, _LOWER, _TIME, _DEVICE,
        formula="sum of the durations of all kernels, memory copies and memory sets of an iteration, on the "
        "rank with the largest sum; a collective kernel takes as long as on the rank that joined it last",
        source=_CUPTI,
        gates=(Gate.DEVICE,),
        if_measured=True,
        leaves_out=_WAITING,
        of_pass=lambda one: one.slowest.total,
    )  # fmt: skip
    gpu_time_decode_step = Metric(
        "gpu_time.decode_step", "GPU time per decode step", SECONDS, _LOWER, _TIME, _DEVICE,
        formula="GPU time of decode steps / number of decode steps; a decode step computes one token for each "
        "of its requests",
        source=_CUPTI,
        leaves_out=_WAITING,
        of_pass=lambda one: one.slowest.decode / one.slowest.decode_steps if one.slowest.decode_steps else None,
    )  # fmt: skip
    gpu_time_prefill = Metric(
        "gpu_time.prefill", "GPU time of prefill steps", SECONDS, _LOWER, _TIME, _DEVICE,
        formula="GPU time of all other steps of an iteration",
        source=_CUPTI,
        leaves_out=_WAITING,
        of_pass=lambda one: one.slowest.prefill,
    )  # fmt: skip
    gpu_time_collective = Metric(
        "gpu_time.collective", "GPU time of collectives", SECONDS, _LOWER, _TIME, _DEVICE,
        formula="the part of gpu_time that collective kernels take, such as all-reduce; only where ranks run the same "
        "ones",
        source=_CUPTI,
        of_pass=lambda one: None if one.slowest.waiting is None else one.slowest.collective,
    )  # fmt: skip
    gpu_time_waiting = Metric(
        _WAITING, "wait for other ranks", SECONDS, _LOWER, MetricClass.DEVICE, _DEVICE,
        formula="sum over collective kernels of what they take longer than on the rank that joined last, on the rank "
        "with the largest sum; not part of gpu_time; only where ranks run the same collective kernels",
        source=_CUPTI,
        zero=True,
        of_pass=lambda one: max(one.waits, default=None),
    )  # fmt: skip
    gpu_busy = Metric(
        "gpu_busy", "GPU busy time", SECONDS, _LOWER, _TIME, _DEVICE,
        formula="time of an iteration in which at least one kernel, memory copy or memory set was running, on the rank "
        "of gpu_time; waiting for other ranks is part of it",
        source=_CUPTI,
        of_pass=lambda one: one.slowest.busy,
    )  # fmt: skip
    gpu_idle_share = Metric(
        "gpu_idle_share", "GPU idle", SHARE, _LOWER, MetricClass.DEVICE, _DEVICE,
        formula="1 - gpu_busy / median duration of the measured iterations, which run without a profiler",
        source=_CUPTI,
        zero=True,
        of_pass=_idle_share,
    )  # fmt: skip
    gpu_kernels = Metric(
        "gpu_kernels", "GPU kernels", COUNT, _LOWER, MetricClass.DEVICE, _DEVICE,
        formula="number of kernels, memory copies and memory sets of an iteration, all ranks",
        source=_CUPTI,
        of_pass=lambda one: float(sum(rank.count for rank in one.profiled.ranks)),
    )  # fmt: skip
    device_pass_sm_clock = Metric(
        "device_pass.sm_clock", "SM clock of the device pass", HERTZ, _HIGHER, MetricClass.DEVICE, _DEVICE,
        formula="median SM clock of the slowest device during an iteration of the device pass",
        source="NVML, 20 Hz",
        of_pass=lambda one: None if one.use is None else one.use.sm_clock,
    )  # fmt: skip
    device_pass_memory_clock = Metric(
        "device_pass.memory_clock", "memory clock of the device pass", HERTZ, _HIGHER, MetricClass.DEVICE, _DEVICE,
        formula="median memory clock of the slowest device during an iteration of the device pass",
        source="NVML, 20 Hz",
        of_pass=lambda one: None if one.use is None else one.use.memory_clock,
    )  # fmt: skip
    device_pass_power_capped = Metric(
        "device_pass.power_capped", "power limit reached", SHARE, _LOWER, MetricClass.DEVICE, _DEVICE,
        formula="share of readings during an iteration of the device pass in which the power limit reduced the clocks",
        source="NVML, 20 Hz",
        zero=True,
        of_pass=lambda one: None if one.use is None else one.use.power_capped,
    )  # fmt: skip
