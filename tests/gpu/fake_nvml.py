# ruff: noqa: N802 - names of NVML's functions
"""NVML's C interface over a list of made-up GPUs; takes the place of the library that the real pynvml has loaded.

pynvml keeps its own structs, its buffers, its way to ask twice for an array, and its errors: a function here gets what
the C function would get, writes into that memory, and returns NVML's code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from ctypes import POINTER, c_char_p, c_int, c_uint, c_ulonglong, c_void_p, cast, memmove
from dataclasses import dataclass, field
from typing import Any

import pynvml

MIB = 2**20
RESERVED = 615 * MIB
"""What a driver keeps of an idle H200 for itself."""
RING = 72
"""Samples of use by process that a driver keeps."""

Function = Callable[..., Any]


class Refused(Exception):  # noqa: N818 - a code to return, on its way
    """What NVML answers instead of SUCCESS."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class FakePart:
    """One MIG device: identity, memory and processes.

    Attributes:
        computing: bytes by process; None where NVML does not tell them.
        drawing: the same, of processes that draw.
    """

    uuid: str = "MIG-11111111-aaaa"
    name: str = "NVIDIA H200 MIG 1g.18gb"
    total: int = 16384 * MIB
    reserved: int = 15 * MIB
    used: int = 28 * MIB
    computing: dict[int, int | None] = field(default_factory=dict)
    drawing: dict[int, int | None] = field(default_factory=dict)


@dataclass
class FakeGpu(FakePart):
    """One GPU, by default an H200 that idles. What is None is not supported.

    Attributes:
        utilization: percent, of kernels and of memory.
        power: milliwatts, as is the limit.
        energy: millijoules.
        sm_clock: megahertz, as are the other clocks.
        mig: whether it is divided; None where it cannot be.
        parts: places for MIG devices; None for an empty one.
        compute_mode: NVML's number of it.
        lost: whether it fell off the bus.
        forbidden: whether a cgroup keeps this process from it.
        samples: what the driver has sampled: a time stamp in microseconds, who was active then, and percent; None where
            use by process is not supported.
    """

    uuid: str = "GPU-00000001-aaaa"
    name: str = "NVIDIA H200"
    total: int = 143771 * MIB
    reserved: int = RESERVED
    used: int = 0
    compute: tuple[int, int] = (9, 0)
    utilization: tuple[int, int] | None = (0, 0)
    power: int | None = 76_543
    power_limit: int | None = 700_000
    energy: int | None = 5_000_000_123
    sm_clock: int | None = 345
    memory_clock: int | None = 3201
    max_memory_clock: int | None = 3201
    bus_width: int | None = 6144
    cores: int | None = 16896
    max_sm_clock: int | None = 1980
    temperature: int | None = 31
    clock_events: int | None = 1
    mig: bool | None = False
    parts: list[FakePart | None] = field(default_factory=list)
    compute_mode: int | None = 0
    lost: bool = False
    forbidden: bool = False
    samples: list[tuple[int, int, int]] | None = field(default_factory=list)


# Of one handle, one number: (its type in C, where it stands in FakeGpu).
_NUMBERS: Mapping[str, tuple[type[Any], str]] = {
    "nvmlDeviceGetEnforcedPowerLimit": (c_uint, "power_limit"),
    "nvmlDeviceGetMemoryBusWidth": (c_uint, "bus_width"),
    "nvmlDeviceGetNumGpuCores": (c_uint, "cores"),
    "nvmlDeviceGetPowerUsage": (c_uint, "power"),
    "nvmlDeviceGetComputeMode": (c_uint, "compute_mode"),
    "nvmlDeviceGetTotalEnergyConsumption": (c_ulonglong, "energy"),
    "nvmlDeviceGetCurrentClocksEventReasons": (c_ulonglong, "clock_events"),
    "nvmlDeviceGetCurrentClocksThrottleReasons": (c_ulonglong, "clock_events"),
}
# Of one handle and a kind, one number: by kind, where it stands.
_NUMBERS_OF_A_KIND: Mapping[str, Mapping[int, str]] = {
    "nvmlDeviceGetClockInfo": {pynvml.NVML_CLOCK_SM: "sm_clock", pynvml.NVML_CLOCK_MEM: "memory_clock"},
    "nvmlDeviceGetMaxClockInfo": {pynvml.NVML_CLOCK_SM: "max_sm_clock", pynvml.NVML_CLOCK_MEM: "max_memory_clock"},
    "nvmlDeviceGetTemperature": {pynvml.NVML_TEMPERATURE_GPU: "temperature"},
}


_TEXTS: Mapping[str, str] = {"nvmlDeviceGetUUID": "uuid", "nvmlDeviceGetName": "name"}
_PROCESSES: Mapping[str, str] = {
    "nvmlDeviceGetComputeRunningProcesses_v3": "computing",
    "nvmlDeviceGetGraphicsRunningProcesses_v3": "drawing",
}


class FakeNvml:
    """The library.

    Attributes:
        gpus: what it finds, in its order.
        driver: its version.
        cuda: 1000 x major + 10 x minor.
        missing: functions of C that this driver does not have; set before anything is called, as pynvml remembers.
        failing: codes that functions answer, and how many calls go well before.
        opened: initialised so many times more than shut down.
        calls: names of the functions of C in the order of their calls.
    """

    def __init__(self, *gpus: FakeGpu, driver: str = "565.57.01", cuda: int = 12070) -> None:
        self.gpus = list(gpus)
        self.driver = driver
        self.cuda = cuda
        self.missing: set[str] = set()
        self.failing: dict[str, tuple[int, int]] = {}
        self.opened = 0
        self.calls: list[str] = []

    def fail(self, function: str, code: int, after: int = 0) -> None:
        """Let a function of C answer a code from now on, or once it has been called `after` times."""
        self.failing[function] = (code, after)

    def __getattr__(self, name: str) -> Function:
        if not name.startswith("nvml") or name in self.missing:
            raise AttributeError(name)
        return self._entry(name, self._bound(name))

    def _bound(self, name: str) -> Function:
        if name in _NUMBERS:
            return lambda handle, out: self._number(handle, out, *_NUMBERS[name])
        if name in _NUMBERS_OF_A_KIND:
            return lambda handle, kind, out: self._number(handle, out, c_uint, _NUMBERS_OF_A_KIND[name][kind.value])
        if name in _TEXTS:
            return lambda handle, out, size: _put_text(out, size, getattr(self._device(handle), _TEXTS[name]))
        if name in _PROCESSES:
            return lambda handle, count, out: _put_processes(
                count, out, getattr(self._device(handle), _PROCESSES[name])
            )
        found: Function = object.__getattribute__(self, f"_{name}")
        return found

    def _entry(self, name: str, function: Function) -> Function:
        """As C is called: a code comes back, whatever happened."""

        def called(*arguments: Any) -> Any:
            self.calls.append(name)
            try:
                self._check(name)
                told = function(*arguments)
            except Refused as refusal:
                return refusal.code
            return pynvml.NVML_SUCCESS if told is None else told

        return called

    def _check(self, name: str) -> None:
        code, after = self.failing.get(name, (pynvml.NVML_SUCCESS, 0))
        if code != pynvml.NVML_SUCCESS and Counter(self.calls)[name] > after:
            raise Refused(code)
        if not self.opened and name not in ("nvmlInitWithFlags", "nvmlErrorString"):
            raise Refused(pynvml.NVML_ERROR_UNINITIALIZED)

    def _nvmlInitWithFlags(self, flags: int) -> None:
        self.opened += 1

    def _nvmlShutdown(self) -> None:
        self.opened -= 1

    def _nvmlErrorString(self, code: int) -> bytes:
        return f"error number {code}".encode()

    def _nvmlSystemGetDriverVersion(self, buffer: Any, size: c_uint) -> None:
        _put_text(buffer, size, self.driver)

    def _nvmlSystemGetCudaDriverVersion_v2(self, out: Any) -> None:
        _put(out, c_int, self.cuda)

    def _nvmlDeviceGetCount_v2(self, out: Any) -> None:
        _put(out, c_uint, len(self.gpus))

    def _nvmlDeviceGetHandleByIndex_v2(self, index: c_uint, out: Any) -> None:
        if self.gpus[index.value].forbidden:
            raise Refused(pynvml.NVML_ERROR_NO_PERMISSION)
        self._put_handle(out, self.gpus[index.value])

    def _nvmlDeviceGetHandleByUUID(self, uuid: c_char_p, out: Any) -> None:
        found = [one for one in self._handles().values() if one.uuid.encode() == uuid.value]
        if not found:
            raise Refused(pynvml.NVML_ERROR_NOT_FOUND)
        self._put_handle(out, found[0])

    def _nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> None:
        for out, value in zip((major, minor), self._whole(handle).compute, strict=True):
            _put(out, c_int, value)

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, out: Any) -> None:
        device = self._device(handle)
        info = cast(out, POINTER(pynvml.c_nvmlMemory_t)).contents
        info.total, info.used = device.total, device.used + device.reserved
        info.free = info.total - info.used

    def _nvmlDeviceGetMemoryInfo_v2(self, handle: Any, out: Any) -> None:
        device = self._device(handle)
        info = cast(out, POINTER(pynvml.c_nvmlMemory_v2_t)).contents
        if info.version != pynvml.nvmlMemory_v2:
            raise Refused(pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
        info.total, info.used, info.reserved = device.total, device.used, device.reserved
        info.free = info.total - info.used - info.reserved

    def _nvmlDeviceGetUtilizationRates(self, handle: Any, out: Any) -> None:
        gpu = self._whole(handle)
        if gpu.utilization is None or gpu.mig:
            raise Refused(pynvml.NVML_ERROR_NOT_SUPPORTED)
        rates = cast(out, POINTER(pynvml.c_nvmlUtilization_t)).contents
        rates.gpu, rates.memory = gpu.utilization

    def _nvmlDeviceGetProcessUtilization(self, handle: Any, out: Any, count: Any, since: c_ulonglong) -> None:
        """One entry for each process: its last time stamp, and the mean over all samples since."""
        sampled = self._whole(handle).samples
        if sampled is None:
            raise Refused(pynvml.NVML_ERROR_NOT_SUPPORTED)
        fresh = [one for one in sampled[-RING:] if one[0] > since.value]
        active = dict.fromkeys(pid for _, pid, percent in fresh if percent)
        if not active:
            raise Refused(pynvml.NVML_ERROR_NOT_FOUND)
        if not out:
            _put(count, c_uint, RING)  # room for all that it may have, as drivers say
            raise Refused(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
        _put(count, c_uint, len(active))
        for place, pid in enumerate(active):
            out[place].pid = pid
            out[place].timeStamp = max(at for at, who, _ in fresh if who == pid)
            out[place].smUtil = round(sum(percent for _, who, percent in fresh if who == pid) / len(fresh))

    def _nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> None:
        gpu = self._whole(handle)
        if gpu.mig is None:
            raise Refused(pynvml.NVML_ERROR_NOT_SUPPORTED)
        _put(current, c_uint, int(gpu.mig))
        _put(pending, c_uint, 1)  # on at the next reset, which is not now

    def _nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, out: Any) -> None:
        _put(out, c_uint, len(self._whole(handle).parts))

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: c_uint, out: Any) -> None:
        part = self._whole(handle).parts[index.value]
        if part is None:
            raise Refused(pynvml.NVML_ERROR_NOT_FOUND)
        self._put_handle(out, part)

    def _nvmlDeviceIsMigDeviceHandle(self, handle: Any, out: Any) -> None:
        _put(out, c_uint, int(not isinstance(self._device(handle), FakeGpu)))

    def _nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Any, out: Any) -> None:
        self._put_handle(out, next(gpu for gpu in self.gpus if any(one is self._device(handle) for one in gpu.parts)))

    def _number(self, handle: Any, out: Any, kind: type[Any], name: str) -> None:
        value = getattr(self._whole(handle), name)
        if value is None:
            raise Refused(pynvml.NVML_ERROR_NOT_SUPPORTED)
        _put(out, kind, value)

    def _handles(self) -> dict[int, FakePart]:
        """Devices by the address that stands for them."""
        found: dict[int, FakePart] = {}
        for number, gpu in enumerate(self.gpus, start=1):
            found[number * 4096] = gpu
            found |= {number * 4096 + place: part for place, part in enumerate(gpu.parts, start=1) if part is not None}
        return found

    def _put_handle(self, out: Any, device: FakePart) -> None:
        _put(out, c_void_p, next(address for address, one in self._handles().items() if one is device))

    def _device(self, handle: Any) -> FakePart:
        device = self._handles()[cast(handle, c_void_p).value or 0]
        if isinstance(device, FakeGpu) and device.lost:
            raise Refused(pynvml.NVML_ERROR_GPU_IS_LOST)
        return device

    def _whole(self, handle: Any) -> FakeGpu:
        """The GPU of a handle; a MIG device does not support what is asked of that."""
        device = self._device(handle)
        if not isinstance(device, FakeGpu):
            raise Refused(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return device


def _put(out: Any, kind: type[Any], value: int) -> None:
    cast(out, POINTER(kind))[0] = value


def _put_text(buffer: Any, size: c_uint, text: str) -> None:
    if len(text.encode()) >= size.value:
        raise Refused(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
    memmove(buffer, text.encode() + b"\0", len(text.encode()) + 1)


def _put_processes(count: Any, out: Any, processes: Mapping[int, int | None]) -> None:
    """As many as there are, or, into an array that is too small, only their number."""
    room = cast(count, POINTER(c_uint))[0]
    _put(count, c_uint, len(processes))
    if room < len(processes):
        raise Refused(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
    infos = cast(out, POINTER(pynvml.c_nvmlProcessInfo_v3_t))
    for place, (pid, used) in enumerate(processes.items()):
        infos[place].pid = pid
        infos[place].usedGpuMemory = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value if used is None else used
