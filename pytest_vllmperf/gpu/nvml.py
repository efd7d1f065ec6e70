"""NVML, opened for a while: what a driver or device does not tell reads None, a lost GPU raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import pynvml

from pytest_vllmperf.errors import GpuForbiddenError, GpuLostError, NoDriverError, NoGpuError
from pytest_vllmperf.records.devices import GpuReading

# A driver that is older than the function, a device that lacks it, a container that forbids it, no MIG device there.
_NOT_TOLD = (
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_NO_DATA,
)
# What every driver tells of a GPU that this process may touch.
_NOT_THERE = tuple(code for code in _NOT_TOLD if code != pynvml.NVML_ERROR_NO_PERMISSION)
# Any other error on the way in is of a driver that is here and does not work: a gate must not take that for no GPU.
_NO_DRIVER = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
_ADVICE = {
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated, but the old kernel module is still "
    "loaded: reboot",
    pynvml.NVML_ERROR_NO_PERMISSION: "give this user access to /dev/nvidia*",
}
_OTHER_ADVICE = "make nvidia-smi work on this machine first; if a container lost its GPUs, restart it"
_LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
# Of utilization by process: nobody used the GPU since then (some drivers answer so with success and no samples), or
# there were more samples than a moment ago.
_NOTHING_NEW = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_INSUFFICIENT_SIZE)

USE_PERIOD_S = 0.5
"""Seconds between two questions for the use by process. The driver takes a sample of a GPU every sixth of a second, and
keeps 72 of them, each with the one process that was active then; an answer is the mean of all since the last answer."""


class Nvml:
    """The library while it is open; a context manager.

    Raises:
        NoDriverError: on entry, where there is no driver.
        NoGpuError: on entry, where the driver does not work, in NVML's words and with what to do.
    """

    def __enter__(self) -> Nvml:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            if error.value in _NO_DRIVER:
                raise NoDriverError(f"NVML does not answer: {error}") from None
            words, advice = str(error).rstrip("."), _ADVICE.get(error.value, _OTHER_ADVICE)
            raise NoGpuError(f"the NVIDIA driver does not work: {words}; {advice}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def ask(self, function: str, *arguments: Any) -> Any | None:
        """What one of pynvml's functions returns; None where this driver or device does not tell.

        Raises:
            GpuLostError: when the device is gone.
            NoGpuError: for any other error of NVML's, in its words.
        """
        return self._call(function, arguments, _NOT_TOLD)

    def _call(self, function: str, arguments: Sequence[Any], silent: Collection[int]) -> Any | None:
        """None for the error codes in `silent`."""
        try:
            return getattr(pynvml, function)(*arguments)
        except pynvml.NVMLLibraryMismatchError:  # no NVMLError: the driver lacks the version that pynvml calls
            return None
        except pynvml.NVMLError as error:
            if error.value in silent:
                return None
            if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
                raise GpuForbiddenError(f"NVML cannot read the GPUs: {error}") from None
            if error.value in _LOST:
                raise GpuLostError(f"the GPU is gone: {error}") from None
            raise NoGpuError(f"NVML cannot read the GPUs: {error}") from None

    def need(self, function: str, *arguments: Any) -> Any:
        """What one of pynvml's functions returns, which every driver and device tells.

        Raises:
            GpuForbiddenError: when this process may not know.
            GpuLostError: when the device is gone.
            NoGpuError: when it is not told for another reason.
        """
        told = self._call(function, arguments, _NOT_THERE)
        if told is None:
            raise NoGpuError(f"NVML cannot read the GPUs: {function} is not supported here")
        return told

    def handle(self, uuid: str) -> Any:
        """The handle of a GPU, or of a MIG device, by its UUID.

        Raises:
            NoGpuError: when there is none.
        """
        found = self.ask("nvmlDeviceGetHandleByUUID", uuid)
        if found is None:
            raise NoGpuError(f"NVML does not find GPU {uuid}")
        return found

    def memory(self, handle: Any) -> Any:
        """Total, free and used bytes; without what the driver reserves, where it tells that apart (version 2)."""
        told = self.ask("nvmlDeviceGetMemoryInfo", handle, pynvml.nvmlMemory_v2)
        return self.need("nvmlDeviceGetMemoryInfo", handle) if told is None else told

    def processes(self, handle: Any) -> Mapping[int, int | None] | None:
        """Bytes by process, of those that compute or draw; None for what is hidden, and where nothing is told."""
        found = [self.ask(f"nvmlDeviceGet{kind}RunningProcesses", handle) for kind in ("Compute", "Graphics")]
        if all(one is None for one in found):
            return None
        held: dict[int, int | None] = {}
        for one in (one for processes in found for one in processes or ()):
            held[one.pid] = one.usedGpuMemory or held.get(one.pid)
        return held

    def process_samples(self, handle: Any, since: int) -> Sequence[Any] | None:
        """Who used the SMs of a GPU after a time stamp of the driver's; empty for nobody, None where it is not told.

        No error but a lost GPU ends a reading: drivers differ much here. Some fill the array with garbage, or repeat
        what is not after the time stamp; both are left out.

        Raises:
            GpuLostError: when the device is gone.
        """
        try:
            samples = pynvml.nvmlDeviceGetProcessUtilization(handle, since)
        except pynvml.NVMLLibraryMismatchError:
            return None
        except pynvml.NVMLError as error:
            if error.value in _LOST:
                raise GpuLostError(f"the GPU is gone: {error}") from None
            return () if error.value in _NOTHING_NEW else None
        return [one for one in samples if one.pid and one.timeStamp > since and one.smUtil <= 100]

    def physical(self, handle: Any) -> Any:
        """The GPU that a MIG device is a part of; any other GPU is its own."""
        if self.ask("nvmlDeviceIsMigDeviceHandle", handle):
            return self.ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle) or handle
        return handle


class _UseByProcess:
    """Asks now and then who used a GPU's SMs, each time for the time since the last answer.

    Args:
        nvml: open.
        handle: of a whole GPU.
    """

    def __init__(self, nvml: Nvml, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._since = 0
        self._asked: float | None = None

    def read(self, at: float) -> Mapping[int, float] | None:
        """Share of the GPU's time by process; empty the first time, None where nothing is known or nothing new yet."""
        first = self._asked is None
        if self._asked is not None and at - self._asked < USE_PERIOD_S:
            return None
        self._asked = at
        samples = self._nvml.process_samples(self._handle, self._since)
        if samples is None:
            self._asked = float("inf")  # this driver does not tell: never ask again
            return None
        self._since = max((one.timeStamp for one in samples), default=self._since)
        if first:
            return {}
        return {int(one.pid): one.smUtil / 100 for one in samples} or None


class DeviceReader:
    """Reads one device again and again; what it once did not tell is not asked again.

    Args:
        nvml: open.
        uuid: of a GPU or a MIG device. Of the latter only memory and processes are its own: power, clocks and the
            like are of the whole GPU, and left out.
        clock: monotonic, in seconds; the engines' timestamps are on the same one.
    """

    def __init__(self, nvml: Nvml, uuid: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._handle = nvml.handle(uuid)
        self._whole = nvml.physical(self._handle) is self._handle
        self._clock = clock
        self._silent: set[str] = set()
        self._use = _UseByProcess(nvml, self._handle) if self._whole else None

    def read(self) -> GpuReading:
        """One reading.

        Raises:
            GpuLostError: when the device is gone.
            NoGpuError: for any other error of NVML's.
        """
        memory = self._nvml.memory(self._handle)
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        power = self._ask("nvmlDeviceGetPowerUsage")
        energy = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        sm_clock = self._ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM)
        memory_clock = self._ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM)
        at = self._clock()
        return GpuReading(
            at=at,
            used_bytes=int(memory.used),
            processes=self._once("processes", lambda: self._nvml.processes(self._handle)),
            utilization=None if rates is None else rates.gpu / 100,
            power=None if power is None else power / 1e3,
            energy=None if energy is None else energy / 1e3,
            sm_clock=None if sm_clock is None else sm_clock * 1e6,
            memory_clock=None if memory_clock is None else memory_clock * 1e6,
            temperature=self._ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
            clock_events=self._clock_events(),
            free_bytes=int(memory.free),
            use_by_process=None if self._use is None else self._use.read(at),
        )

    def _clock_events(self) -> int | None:
        told = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        return self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") if told is None else told

    def _ask(self, function: str, *arguments: Any) -> Any | None:
        """What only a whole GPU tells."""
        if not self._whole:
            return None
        return self._once(f"{function}{arguments}", lambda: self._nvml.ask(function, self._handle, *arguments))

    def _once(self, key: str, ask: Callable[[], Any | None]) -> Any | None:
        """A driver that does not know a function is not asked for it twenty times a second."""
        told = None if key in self._silent else ask()
        if told is None:
            self._silent.add(key)
        return told
