"""GPUs as NVML sees them, and what a test may ask of one. Never initialises CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pytest_vllmperf.errors import NoGpuError, SpecError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def parse_size(text: object) -> int:
    """Bytes of a size such as `16GiB` or `24 GB`; a plain number is bytes already.

    Raises:
        SpecError: for a unit that does not exist, no unit behind a fraction, or nothing above zero.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    size = int(float(match[1]) * _UNITS.get(match[2], 0)) if match is not None else 0
    if size < 1:
        raise SpecError(f"{text!r} is not a size; write a number and one of {', '.join(_UNITS)}, such as '16GiB'")
    return size


@dataclass(frozen=True)
class GpuDevice:
    """One GPU.

    Attributes:
        uuid: NVML's UUID, which CUDA_VISIBLE_DEVICES takes too.
        name: as NVML gives it, such as `NVIDIA H200`.
        total_bytes: all of its memory.
        compute_capability: (major, minor).
        driver: version of the driver.
    """

    uuid: str
    name: str
    total_bytes: int
    compute_capability: tuple[int, int]
    driver: str


@dataclass(frozen=True)
class GpuRequirement:
    """What `@pytest.mark.gpu` asks for.

    Attributes:
        name: regular expression searched for in the name, without regard to case; empty for any GPU.
        min_vram: bytes of total memory.
        min_compute: lowest compute capability.
        count: how many GPUs.
    """

    name: str = ""
    min_vram: int = 0
    min_compute: tuple[int, int] = (0, 0)
    count: int = 1

    @classmethod
    def create(
        cls, name: str = "", *, min_vram: object = None, min_compute: object = None, count: object = 1
    ) -> GpuRequirement:
        """Check what a marker was given.

        Raises:
            SpecError: for a regular expression that does not compile, an impossible size, compute capability or
                count.
        """
        if not isinstance(name, str):
            raise SpecError(f"gpu({name!r}): the name must be a string")
        try:
            re.compile(name)
        except re.error as error:
            raise SpecError(f"gpu({name!r}): not a regular expression: {error}") from None
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise SpecError(f"count={count!r} must be a whole number of at least 1")
        vram = 0 if min_vram is None else parse_size(min_vram)
        return cls(name, vram, _compute_capability(min_compute), count)

    def fits(self, device: GpuDevice) -> bool:
        """Whether one device has what is asked for."""
        named = re.search(self.name, device.name, re.IGNORECASE) is not None
        return named and device.total_bytes >= self.min_vram and device.compute_capability >= self.min_compute

    def choose(self, devices: Sequence[GpuDevice]) -> tuple[GpuDevice, ...]:
        """The first `count` devices that fit.

        Raises:
            NoGpuError: when there are not enough, naming what was found.
        """
        fitting = [device for device in devices if self.fits(device)]
        if len(fitting) < self.count:
            found = ", ".join(device.name for device in devices) or "no GPU"
            raise NoGpuError(f"needs {self.describe()}, found {found}")
        return tuple(fitting[: self.count])

    def describe(self) -> str:
        """The requirement in words."""
        words = [self.name or "a GPU" if self.count == 1 else f"{self.count} x {self.name or 'GPU'}"]
        if self.min_vram:
            words.append(f"with {self.min_vram / 2**30:.4g} GiB")
        if self.min_compute > (0, 0):
            words.append(f"of compute capability {self.min_compute[0]}.{self.min_compute[1]}")
        return " ".join(words)


def _compute_capability(value: object) -> tuple[int, int]:
    if value is None:
        return (0, 0)
    match = re.fullmatch(r"(\d+)\.(\d+)", str(value))
    if match is None:
        raise SpecError(f"min_compute={value!r} is not a compute capability such as '8.9'")
    return (int(match[1]), int(match[2]))


def devices() -> tuple[GpuDevice, ...]:
    """The GPUs that this process may use, in NVML's order; none where there is no driver.

    CUDA_VISIBLE_DEVICES is honoured, by number or UUID.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        found = tuple(_read(pynvml, handle, driver) for handle in handles)
    except pynvml.NVMLError as error:
        raise NoGpuError(f"NVML cannot read the GPUs: {error}") from None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def memory_held(pids: Collection[int], devices: Sequence[GpuDevice]) -> int | None:
    """Bytes of these devices' memory that the processes hold, as NVML counts them.

    None where NVML does not say: without a driver, and in a container that hides the processes.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByUUID(device.uuid) for device in devices]
        processes = [one for handle in handles for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except pynvml.NVMLError:
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    held = [one.usedGpuMemory for one in processes if one.pid in pids]
    return sum(held) or None if all(held) else None


def _read(nvml: Any, handle: Any, driver: str) -> GpuDevice:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return GpuDevice(
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        name=str(nvml.nvmlDeviceGetName(handle)),
        total_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        compute_capability=(int(major), int(minor)),
        driver=driver,
    )


def visible(found: Sequence[GpuDevice], cuda_visible_devices: str | None) -> tuple[GpuDevice, ...]:
    """Those of `found` that CUDA_VISIBLE_DEVICES names, in its order; CUDA stops at the first that is not there."""
    if cuda_visible_devices is None:
        return tuple(found)
    chosen: list[GpuDevice] = []
    for word in (word.strip() for word in cuda_visible_devices.split(",")):
        by_number = found[int(word)] if word.isdecimal() and int(word) < len(found) else None
        match = by_number or next((d for d in found if word and d.uuid.startswith(word)), None)
        if match is None:
            break
        chosen.append(match)
    return tuple(chosen)
