"""What tests of device passes share: engines with tables of kernels."""

from __future__ import annotations

from typing import Any

from pytest_vllmperf.records.kernels import KernelTable, KernelTime
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session

FLASH = KernelTime("flash_fwd", 1792, 0.1264)
MATMUL = KernelTime("nvjet_sm90 72x64", 14336, 0.14)
NORM = KernelTime("rms_norm", 34228, 0.04)
ROPE = KernelTime("rope_kernel_v2", 3584, 0.0012)
KERNELS = (FLASH, MATMUL, NORM)


def slower(kernel: KernelTime, seconds: float) -> KernelTime:
    """A kernel that takes so much longer in an iteration."""
    return kernel._replace(seconds=kernel.seconds + seconds)


def table(*kernels: KernelTime, rest: float = 0.0, others: int = 10) -> KernelTable:
    """The kernels of a rank, and a rest of so many seconds where there is one."""
    ordered = sorted(kernels, key=lambda one: -one.seconds)
    return KernelTable(kernels=ordered, rest=KernelTime(f"{others} others", others, rest) if rest else None)


def profiled(*tables: KernelTable, factor: float = 1.0, **more: Any) -> EngineSamples:
    """An engine with a device pass of three iterations; its GPU time is that of the rank with the most, times a factor.

    Args:
        tables: one for each rank.
        factor: on the GPU time alone.
        more: other metrics of the pass, by name with underscores for dots doubled; `samples` for those of iterations.
    """
    time = max(one.seconds for one in tables) * factor
    count = sum(kernel.times for one in tables for kernel in one.all)
    samples = more.pop("samples", {"output_throughput": [100.0] * 3})
    passes = {"gpu_time": [time] * 3, "gpu_kernels": [count] * 3}
    passes |= {name.replace("__", "."): [value] * 3 for name, value in more.items()}
    return EngineSamples(discarded=0, iterations=3, samples=samples, passes=passes, kernels=list(tables))


def unprofiled(reason: str = "CUPTI recorded nothing") -> EngineSamples:
    """An engine whose device pass was not made."""
    return EngineSamples(discarded=0, iterations=1, samples={"output_throughput": [100.0]}, no_device_pass=reason)


def session(*engines: EngineSamples) -> Session:
    return Session(recorded="2026-01-01", environment=Environment(hard={}, soft={}), engines=list(engines))
