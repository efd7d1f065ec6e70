"""`Lab`: all that one pytest process holds while it measures."""

from __future__ import annotations

import os
from collections.abc import Callable

from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.measuring import Measuring
from pytest_vllmperf.lab.profiling import Profiling
from pytest_vllmperf.lab.slots import Slots
from pytest_vllmperf.lab.targets import Targets, weight_bytes
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.storage.baselines import BaselineStore


class Lab:
    """All that one pytest process holds while it measures; what it does is done by its parts.

    Args:
        settings: the run's.
        progress: called with what is going on, for a person.
        backends: the kinds of engines that there are.
        live: whether progress is a line that is rewritten in place; it is then called from a second thread too.

    Attributes:
        settings: the run's.
        store: its baselines.
        redactor: takes secrets out of what this process shows.
        slots: its engines.
        require: see `Targets`.
        target: see `Targets`.
        weight_bytes: see `targets.weight_bytes`.
        engines: see `Slots`.
        ask: see `Slots`.
        wake: see `Slots`.
        retire: see `Slots`.
        measure: see `Measuring`.
        search: see `Measuring`.
        profile: see `Profiling`.
        measurement: see `Measuring`.
        watching: see `Measuring`.
        iteration_progress: see `Measuring`.
        telling: see `Measuring`.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Progress,
        backends: Backends = BACKENDS,
        live: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self.store = BaselineStore(settings.baselines)
        timeouts = Timeouts(start=settings.start_timeout, operation=settings.operation_timeout)
        self.redactor = Redactor(os.environ)
        self.slots = Slots(timeouts, progress, self.redactor, backends, settings.lease_timeout)
        self.engines, self.ask = self.slots.engines, self.slots.ask
        self.wake, self.retire = self.slots.wake, self.slots.retire
        self._targets = Targets(self.slots, backends)
        self.require, self.target = self._targets.require, self._targets.target
        self.weight_bytes = weight_bytes
        measuring = Measuring(self.slots, progress, settings, live)
        self.measure, self.measurement = measuring.measure, measuring.measurement
        self.search = measuring.search
        self.profile = Profiling(self.slots, measuring, traced=settings.trace is not None).profile
        self.telling = measuring.telling
        self.watching, self.iteration_progress = measuring.watching, measuring.iteration_progress

    @property
    def gpus(self) -> tuple[GpuDevice, ...]:
        """The GPUs of this machine."""
        return self._targets.gpus

    def release(self) -> None:
        """Stop the engines and give the devices back; a later test starts and takes them again.

        Raises:
            EngineError: when a device's memory did not come back.
        """
        self.slots.release()

    def close(self) -> None:
        """End everything that was started."""
        self.slots.shut_down()
