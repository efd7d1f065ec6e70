"""Metrics of device memory that vary from start to start; what is exact there stands in `counters`."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.units import BYTES
from pytest_vllmperf.stats import Direction

_LOWER: Final = Direction.LOWER
_MEMORY: Final = MetricClass.MEMORY
_NONE: Final = Clock.NONE
_WORKER: Final = "worker extension"


class MemoryMetrics:
    """Memory of the engine's devices."""

    device_memory_used = Metric(
        "device_memory_used", "device memory", BYTES, _LOWER, _MEMORY, _NONE,
        formula="device memory of the engine's processes after the last iteration",
        source="NVML",
        of_start=lambda one: one.device_bytes,
    )  # fmt: skip
    memory_peak_activation = Metric(
        "memory.peak_activation", "peak activation", BYTES, _LOWER, _MEMORY, _NONE,
        formula="memory that vLLM's profiling run used in addition to the weights, all ranks",
        source=_WORKER,
        of_start=lambda one: one.memory.peak_activation,
    )  # fmt: skip
    memory_non_torch = Metric(
        "memory.non_torch", "non-torch memory", BYTES, _LOWER, _MEMORY, _NONE,
        formula="device memory that the workers use outside torch, as profiled by vLLM",
        source=_WORKER,
        of_start=lambda one: one.memory.non_torch,
    )  # fmt: skip
    memory_cuda_graphs = Metric(
        "memory.cuda_graphs", "CUDA graphs", BYTES, _LOWER, _MEMORY, _NONE,
        formula="memory that torch reserved in the private pools of CUDA graphs",
        source=_WORKER,
        of_start=lambda one: one.memory.cuda_graphs,
    )  # fmt: skip
    gpu_memory_peak = Metric(
        "gpu_memory_peak", "GPU memory peak", BYTES, _LOWER, _MEMORY, _NONE,
        formula="peak memory in use on the engine's devices during an iteration, by all processes",
        source="NVML, 20 Hz",
        of=lambda one: None if one.use is None else one.use.peak_bytes,
    )  # fmt: skip
