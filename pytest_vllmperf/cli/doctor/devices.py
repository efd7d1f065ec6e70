"""The GPUs of this machine, what keeps a test from them, and who holds a lease. By NVML: never initialises CUDA."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pynvml

from pytest_vllmperf import gpu
from pytest_vllmperf.cli.doctor.finding import Finding, State
from pytest_vllmperf.errors import NoDriverError, NoGpuError
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.gpu.nvml import Nvml
from pytest_vllmperf.lab import holders
from pytest_vllmperf.lab.leases import lock_folder
from pytest_vllmperf.records.masking import masked_text

_GIB = 2**30
_OLDEST_GPU = (7, 0)
"""Compute capability below which vLLM has no kernels."""
_BUSY_SHARE = 0.1
"""Share of a GPU's memory in use from which on an engine with vLLM's own gpu_memory_utilization does not start."""
_SHOWN_PROCESSES = 4
_MODES = {
    pynvml.NVML_COMPUTEMODE_DEFAULT: "shared",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "one process at a time",
    pynvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
}


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG device, as it is now.

    Attributes:
        device: what it is.
        free_bytes: of its memory; None where it is not told.
        mode: its compute mode, in words; empty where it is not told.
        processes: bytes by process id, None for what is hidden; None where nothing is told.
        visible: whether this process may use it.
    """

    device: GpuDevice
    free_bytes: int | None = None
    mode: str = ""
    processes: Mapping[int, int | None] | None = None
    visible: bool = True

    @property
    def why_not(self) -> str:
        """Why no engine can run on it; empty where one can."""
        if self.device.unusable:
            return self.device.unusable
        if not self.visible:
            return "CUDA_VISIBLE_DEVICES hides it"
        if self.mode == _MODES[pynvml.NVML_COMPUTEMODE_PROHIBITED]:
            return "its compute mode forbids to compute on it"
        if self.device.compute_capability < _OLDEST_GPU:
            return "vLLM has no kernels for it, as its compute capability is below {}.{}".format(*_OLDEST_GPU)
        return ""

    @property
    def free_share(self) -> float:
        """The free share of its memory, 0 .. 1; 1 where it is not told."""
        return 1.0 if self.free_bytes is None else self.free_bytes / self.device.total_bytes


@dataclass(frozen=True)
class Gpus:
    """What NVML told.

    Attributes:
        found: all GPUs of this machine.
        error: why NVML told nothing; empty where it did.
        driver: whether there is a driver.
    """

    found: tuple[Gpu, ...] = ()
    error: str = ""
    driver: bool = False

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """Those that an engine can run on; with the most free memory first."""
        return tuple(sorted((one for one in self.found if not one.why_not), key=lambda one: -one.free_share))


def look() -> Gpus:
    """Read all GPUs once. Never raises for what NVML does."""
    try:
        with Nvml() as nvml:
            installed = gpu.installed()
            shown = gpu.visible(installed, os.environ.get("CUDA_VISIBLE_DEVICES"))
            return Gpus(tuple(_read(nvml, one, one in shown) for one in installed), driver=True)
    except NoDriverError as error:
        return Gpus(error=str(error))
    except NoGpuError as error:
        return Gpus(error=str(error), driver=True)


def driver(seen: Gpus) -> Iterator[Finding]:
    """The driver, or why it does not answer.

    Args:
        seen: of `look`.
    """
    if seen.error:
        state = State.WARNING if seen.driver else State.ABSENT
        yield Finding("NVIDIA driver", state, seen.error if seen.driver else f"none: {seen.error}")
    elif not seen.found:
        yield Finding("NVIDIA driver", State.WARNING, "works, but shows no GPU to this process",
                      "start the container with GPUs, such as docker run --gpus all")  # fmt: skip
    else:
        one = seen.found[0].device
        cuda = f", runs CUDA up to {one.cuda}" if one.cuda else ""
        yield Finding("NVIDIA driver", State.FINE, f"{one.driver}{cuda}", data={"driver": one.driver, "cuda": one.cuda})


def gpus(seen: Gpus) -> Iterator[Finding]:
    """A line for each GPU, and for what is in its way.

    Args:
        seen: of `look`.
    """
    for index, one in enumerate(seen.found):
        name = f"GPU {index}"
        if one.why_not:
            yield Finding(name, State.WARNING, f"{one.device.name}: {one.why_not}", _remedy(one), _data(one))
            continue
        yield Finding(name, State.FINE, _described(one), data=_data(one))
        if one.processes:
            yield _processes(name, one.processes)
        if one.free_share < 1 - _BUSY_SHARE:
            yield Finding(f"{name}, memory", State.WARNING, f"only {one.free_share:.0%} of it is free",
                          "end what holds it, or set gpu_memory_utilization= below that share")  # fmt: skip


def leases(seen: Gpus) -> Iterator[Finding]:
    """Which devices runs are measuring on now, and whether this user can hold one.

    Args:
        seen: of `look`.
    """
    folder = lock_folder()
    names = {one.device.uuid: f"GPU {index}" for index, one in enumerate(seen.found)}
    held = holders.holders(folder)
    for one in held:
        yield Finding(
            f"lease on {names.get(one.device, one.device)}",
            State.WARNING,
            f"held by {one.by}",
            "a test on it waits until that run ends, at most --vllmperf-lease-timeout",
            {"device": one.device, "pid": one.pid, "user": one.user, "command": one.command},
        )
    there = folder if folder.exists() else folder.parent
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("leases", State.BLOCKS, f"{there} cannot be written, so no device can be locked",
                      "set VLLMPERF_LOCKS to a folder that every user of this machine can write to")  # fmt: skip
    elif not held:
        yield Finding("leases", State.FINE, f"none is held; lock files are in {folder}", data={"folder": str(folder)})


def _read(nvml: Nvml, device: GpuDevice, visible: bool) -> Gpu:
    """What one GPU tells beside what it is; one that was lost meanwhile tells nothing."""
    if device.unusable:
        return Gpu(device, visible=visible)
    with suppress(NoGpuError):
        handle = nvml.handle(device.uuid)
        mode = nvml.ask("nvmlDeviceGetComputeMode", nvml.physical(handle))
        words = "" if mode is None else _MODES.get(mode, f"mode {mode}")
        return Gpu(device, int(nvml.memory(handle).free), words, nvml.processes(handle), visible)
    return Gpu(device, visible=visible)


def _described(one: Gpu) -> str:
    device = one.device
    memory = f"{device.total_bytes / _GIB:.0f} GiB"
    free = "" if one.free_bytes is None else f", {one.free_bytes / _GIB:.0f} GiB free"
    words = [f"{device.name}, {memory}{free}", "compute capability {}.{}".format(*device.compute_capability)]
    words += ["a MIG device"] if device.mig else []
    words += [f"compute mode: {one.mode}"] if one.mode else []
    return ", ".join(words)


def _processes(name: str, processes: Mapping[int, int | None]) -> Finding:
    shown = [_process(pid, used) for pid, used in list(processes.items())[:_SHOWN_PROCESSES]]
    more = len(processes) - len(shown)
    return Finding(
        f"{name}, processes",
        State.WARNING,
        ", ".join(shown) + (f" and {more} more" if more else ""),
        "a process that computes on the GPU voids a measurement: end it",
        {"pids": list(processes)},
    )


def _process(pid: int, used: int | None) -> str:
    held = "" if used is None else f" {used / _GIB:.1f} GiB"
    try:
        return f"{pid} ({masked_text(psutil.Process(pid).name())}){held}"
    except psutil.Error:  # of another container
        return f"{pid}{held}"


def _remedy(one: Gpu) -> str:
    if one.mode == _MODES[pynvml.NVML_COMPUTEMODE_PROHIBITED]:
        return "as root: nvidia-smi -c DEFAULT"
    return "unset CUDA_VISIBLE_DEVICES, or name it there" if not one.visible else ""


def _data(one: Gpu) -> dict[str, object]:
    device = one.device
    return {
        "uuid": device.uuid,
        "name": device.name,
        "total_bytes": device.total_bytes,
        "free_bytes": one.free_bytes,
        "compute_capability": "{}.{}".format(*device.compute_capability),
        "mig": device.mig,
        "compute_mode": one.mode,
        "processes": None if one.processes is None else len(one.processes),
        "usable": not one.why_not,
    }
