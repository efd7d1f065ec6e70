"""Read GPUs in the background while an engine works: a thread that touches NVML alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

from pytest_vllmperf.errors import NoGpuError
from pytest_vllmperf.gpu.nvml import DeviceReader, Nvml
from pytest_vllmperf.records.devices import GpuReading, GpuTrace

RATE_HZ = 20.0
"""Readings a second. A reading takes well below a millisecond, of this process and none of the engine's."""


class Reader(Protocol):
    """What is read again and again."""

    def read(self) -> GpuReading:
        """One reading."""


Open = Callable[[ExitStack, str], Reader]
"""Opens a device by its UUID, for as long as the stack lasts."""


def open_nvml(stack: ExitStack, uuid: str) -> Reader:
    """A device as NVML reads it."""
    return DeviceReader(stack.enter_context(Nvml()), uuid)


class Sampler(AbstractContextManager["Sampler"]):
    """Reads devices from entry to exit; `traces` are what was read until then.

    A device that cannot be read any more ends its own trace with the reason; the engine will tell the rest.

    Args:
        uuids: of the devices; none of them means nothing is read.
        rate: readings a second.
        open_device: opens one of them.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        uuids: Sequence[str],
        rate: float = RATE_HZ,
        open_device: Open = open_nvml,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uuids = tuple(uuids)
        self._period = 1 / rate
        self._open = open_device
        self._clock = clock
        self._readings: dict[str, list[GpuReading]] = {uuid: [] for uuid in self._uuids}
        self._lost: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vllmperf-nvml", daemon=True)

    def __enter__(self) -> Sampler:
        if self._uuids:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def traces(self) -> tuple[GpuTrace, ...]:
        """What was read so far, for each device; whole once the sampler has been left."""
        return tuple(GpuTrace(uuid, tuple(self._readings[uuid]), self._lost.get(uuid)) for uuid in self._uuids)

    def _run(self) -> None:
        with ExitStack() as stack:
            readers = {uuid: reader for uuid in self._uuids if (reader := self._opened(stack, uuid)) is not None}
            began = self._clock()
            while readers:
                for uuid, reader in list(readers.items()):
                    if not self._read(uuid, reader):
                        del readers[uuid]
                if self._stop.wait(self._until_next(began)):
                    return

    def _until_next(self, began: float) -> float:
        """Seconds to the next even moment: readings that drift through a counter's ticks would tell these unevenly."""
        return self._period - (self._clock() - began) % self._period

    def _opened(self, stack: ExitStack, uuid: str) -> Reader | None:
        try:
            return self._open(stack, uuid)
        except NoGpuError as error:
            self._lost[uuid] = str(error)
            return None

    def _read(self, uuid: str, reader: Reader) -> bool:
        try:
            self._readings[uuid].append(reader.read())
        except NoGpuError as error:
            self._lost[uuid] = str(error)
            return False
        return True
