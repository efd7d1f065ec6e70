"""The GPUs of this machine, as NVML sees them. Never initialises CUDA."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from pytest_vllmperf.errors import GpuForbiddenError, NoDriverError, NoGpuError
from pytest_vllmperf.gpu.nvml import DeviceReader, Nvml
from pytest_vllmperf.gpu.peak import peak_flops
from pytest_vllmperf.records.devices import GpuReading


@dataclass(frozen=True)
class GpuDevice:
    """One GPU, or one MIG device: what CUDA may use.

    Attributes:
        uuid: NVML's UUID, which CUDA_VISIBLE_DEVICES takes too.
        name: as NVML gives it, such as `NVIDIA H200`; of a MIG device with its profile, `… MIG 1g.18gb`.
        total_bytes: all of its memory.
        compute_capability: (major, minor).
        driver: version of the driver.
        cuda: the newest version of CUDA that the driver runs; empty where it does not tell.
        mig: whether it is a part of a GPU.
        power_limit: watts that it may take; None where it does not tell.
        memory_bandwidth: bytes/s that its memory can do at most: bus width x memory clock x 2, as data moves on both
            edges; None where it does not tell, and for a part of a GPU.
        flops: see `peak_flops`; None for an unknown architecture, and for a part of a GPU.
        unusable: why it cannot be used, in words: it is lost, or this process may not touch it. Then nothing else is
            known but its place. Empty for any other.
    """

    uuid: str
    name: str
    total_bytes: int
    compute_capability: tuple[int, int]
    driver: str
    cuda: str = ""
    mig: bool = False
    power_limit: float | None = None
    memory_bandwidth: float | None = None
    flops: float | None = None
    unusable: str = ""


def devices() -> tuple[GpuDevice, ...]:
    """The GPUs that this process may use: those of `installed` that CUDA_VISIBLE_DEVICES names, where it is set.

    One that cannot be used is left out.

    Raises:
        NoGpuError: where NVML fails, and where none of those that are named can be used.
    """
    chosen = visible(installed(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    usable = _usable(chosen)
    if chosen and not usable:
        raise NoGpuError("; ".join(dict.fromkeys(device.unusable for device in chosen)))
    return usable


def hidden() -> str:
    """What CUDA_VISIBLE_DEVICES hides of what could be used, in words; empty where it hides nothing, or NVML fails."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return ""
    try:
        found = installed()
    except NoGpuError:  # this only explains another message
        return ""
    count = len(_usable(found)) - len(_usable(visible(found, shown)))
    return f"CUDA_VISIBLE_DEVICES={shown!r} hides {count} of this machine" if count else ""


def installed() -> tuple[GpuDevice, ...]:
    """The GPUs of this machine in NVML's order; none where there is no driver.

    A GPU that is divided by MIG stands for its parts. One that cannot be read keeps its place, so that numbers in
    CUDA_VISIBLE_DEVICES mean the same GPUs as before; those that this process may not touch come last, as CUDA
    counts without them.

    Raises:
        NoGpuError: where NVML fails as a whole.
    """
    try:
        with Nvml() as nvml:
            driver = str(nvml.need("nvmlSystemGetDriverVersion"))
            version = nvml.ask("nvmlSystemGetCudaDriverVersion_v2") or 0
            cuda = f"{version // 1000}.{version % 1000 // 10}" if version else ""
            found: list[GpuDevice] = []
            forbidden: list[GpuDevice] = []
            for index in range(nvml.need("nvmlDeviceGetCount")):
                try:
                    found += [_read(nvml, handle, driver, cuda) for handle in _parts(nvml, index)]
                except GpuForbiddenError as error:
                    forbidden.append(_unusable(index, driver, cuda, str(error)))
                except NoGpuError as error:
                    found.append(_unusable(index, driver, cuda, str(error)))
    except NoDriverError:
        return ()
    return (*found, *forbidden)


def look(uuid: str) -> GpuReading | None:
    """One reading of a device; None where NVML cannot."""
    try:
        with Nvml() as nvml:
            return DeviceReader(nvml, uuid).read()
    except NoGpuError:
        return None


def held_by(pids: Collection[int], readings: Sequence[GpuReading]) -> int | None:
    """Bytes that processes hold of the devices that were read, as NVML counts them.

    None where NVML does not say, be it of one device, as in a container that hides the processes.
    """
    held = [used for one in readings for pid, used in (one.processes or {}).items() if pid in pids]
    known = [used for used in held if used is not None]
    told = all(one.processes is not None for one in readings)
    return sum(known) if told and known and len(known) == len(held) else None


def _usable(found: Sequence[GpuDevice]) -> tuple[GpuDevice, ...]:
    return tuple(device for device in found if not device.unusable)


def _unusable(index: int, driver: str, cuda: str, reason: str) -> GpuDevice:
    """What keeps the place of a GPU that cannot be read; its name tells it from another such."""
    return GpuDevice("", f"GPU {index}", 0, (0, 0), driver, cuda, unusable=reason)


def _parts(nvml: Nvml, index: int) -> Iterator[Any]:
    """A GPU, or the MIG devices that it is divided into."""
    handle = nvml.need("nvmlDeviceGetHandleByIndex", index)
    mode = nvml.ask("nvmlDeviceGetMigMode", handle)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        yield handle
        return
    for part in range(nvml.ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        found = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, part)
        if found is not None:
            yield found


def _read(nvml: Nvml, handle: Any, driver: str, cuda: str) -> GpuDevice:
    whole = nvml.physical(handle)
    mig = whole is not handle
    major, minor = nvml.need("nvmlDeviceGetCudaComputeCapability", whole)
    limit = nvml.ask("nvmlDeviceGetEnforcedPowerLimit", whole)
    name, capability = str(nvml.need("nvmlDeviceGetName", handle)), (int(major), int(minor))
    return GpuDevice(
        uuid=str(nvml.need("nvmlDeviceGetUUID", handle)),
        name=name,
        total_bytes=int(nvml.memory(handle).total),
        compute_capability=capability,
        driver=driver,
        cuda=cuda,
        mig=mig,
        power_limit=None if limit is None else limit / 1e3,
        memory_bandwidth=None if mig else _bandwidth(nvml, handle),
        flops=None if mig else _flops(nvml, handle, name, capability),
    )


def _flops(nvml: Nvml, handle: Any, name: str, capability: tuple[int, int]) -> float | None:
    megahertz = nvml.ask("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_SM)
    cores = nvml.ask("nvmlDeviceGetNumGpuCores", handle)
    return peak_flops(name, capability, cores, megahertz * 1e6 if megahertz else None)


def _bandwidth(nvml: Nvml, handle: Any) -> float | None:
    bits = nvml.ask("nvmlDeviceGetMemoryBusWidth", handle)
    megahertz = nvml.ask("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_MEM)
    return bits / 8 * megahertz * 1e6 * 2 if bits and megahertz else None


def visible(found: Sequence[GpuDevice], cuda_visible_devices: str | None) -> tuple[GpuDevice, ...]:
    """Those of `found` that CUDA_VISIBLE_DEVICES names, in its order.

    CUDA stops at the first that is not there, or that is not told from another; it shows none where one is repeated.
    """
    if cuda_visible_devices is None:
        return tuple(found)
    chosen: list[GpuDevice] = []
    for word in cuda_visible_devices.split(","):
        match = _named(found, word.strip())
        if match is None:
            break
        if match in chosen:
            return ()
        chosen.append(match)
    return tuple(chosen)


def _named(found: Sequence[GpuDevice], word: str) -> GpuDevice | None:
    """The device of a number, a UUID or the beginning of a UUID."""
    if word.isdecimal() and int(word) < len(found):
        return found[int(word)]
    matches = [device for device in found if word and device.uuid.startswith(word)]
    return matches[0] if len(matches) == 1 else None
