"""Metrics of what the devices did during an iteration: energy, clocks, and how close they came to their limit."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.observed import Iteration
from pytest_vllmperf.metrics.units import CELSIUS, HERTZ, JOULES, JOULES_PER_TOKEN, SHARE, TOKENS_PER_JOULE, WATTS
from pytest_vllmperf.stats import Direction

_HIGHER: Final = Direction.HIGHER
_LOWER: Final = Direction.LOWER
_KIND: Final = MetricClass.DEVICE
_DEVICE: Final = Clock.DEVICE
_NVML: Final = "NVML, 20 Hz"


def _joules_per_token(one: Iteration) -> float | None:
    return one.energy / one.output_tokens if one.energy is not None and one.output_tokens else None


def _tokens_per_joule(one: Iteration) -> float | None:
    return one.output_tokens / one.energy if one.energy else None


class DeviceMetrics:
    """What the engine's devices did."""

    gpu_utilization = Metric(
        "gpu_utilization", "GPU utilization", SHARE, _HIGHER, _KIND, _DEVICE,
        formula="mean share of time with a kernel running during an iteration",
        source=_NVML,
        of=lambda one: None if one.use is None else one.use.utilization,
    )  # fmt: skip
    gpu_power = Metric(
        "gpu_power", "GPU power", WATTS, _LOWER, _KIND, _DEVICE,
        formula="mean total power of the engine's devices during an iteration",
        source=_NVML,
        of=lambda one: None if one.use is None else one.use.power,
    )  # fmt: skip
    gpu_energy = Metric(
        "gpu_energy", "GPU energy", JOULES, _LOWER, _KIND, _DEVICE,
        formula="energy of the engine's devices during an iteration: difference of the energy counter, "
        "interpolated between its updates; without a counter, integral of power",
        source=_NVML,
        of=lambda one: one.energy,
    )  # fmt: skip
    joules_per_token = Metric(
        "joules_per_token", "energy per output token", JOULES_PER_TOKEN, _LOWER, _KIND, _DEVICE,
        formula="gpu_energy / output tokens",
        gates=(Gate.ENERGY,),
        of=_joules_per_token,
    )  # fmt: skip
    tokens_per_joule = Metric(
        "tokens_per_joule", "output tokens per joule", TOKENS_PER_JOULE, _HIGHER, _KIND, _DEVICE,
        formula="output tokens / gpu_energy",
        of=_tokens_per_joule,
    )  # fmt: skip
    gpu_sm_clock = Metric(
        "gpu_sm_clock", "SM clock", HERTZ, _HIGHER, _KIND, _DEVICE,
        formula="median SM clock of the slowest device during an iteration",
        source=_NVML,
        of=lambda one: None if one.use is None else one.use.sm_clock,
    )  # fmt: skip
    gpu_temperature = Metric(
        "gpu_temperature", "GPU temperature", CELSIUS, _LOWER, _KIND, _DEVICE,
        formula="highest temperature during an iteration",
        source=_NVML,
        of=lambda one: None if one.use is None else one.use.temperature,
    )  # fmt: skip
    model_bandwidth_utilization = Metric(
        "model_bandwidth_utilization", "memory bandwidth used", SHARE, _HIGHER, _KIND, Clock.ENGINE,
        formula="(engine steps x weights read per step + KV cache read) / (duration x memory bandwidth); not "
        "for models with experts or with layers that differ",
        source="see [gpu.md](gpu.md)",
        of=lambda one: None if one.roofline is None else one.roofline.utilization(one.result),
    )  # fmt: skip
