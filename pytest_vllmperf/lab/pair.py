"""Two engines measured in turns, in whichever way they can share their device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.lab.driving import check_can_be_sent, measure, measure_in_turns
from pytest_vllmperf.lab.faults import of_reference
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.run import EngineRun, MeasureSettings
from pytest_vllmperf.workload import Workload

Answer = TypeVar("Answer")


class Pair:
    """Two engines and the work that they are compared on.

    Args:
        lab: starts engines.
        sharing: how they share the device.
        workload: what is sent to both.
        settings: how often in a round.
        allowed: validity rules that are turned off.
    """

    def __init__(
        self,
        lab: Lab,
        sharing: Sharing,
        workload: Workload,
        settings: MeasureSettings,
        allowed: Collection[str] = (),
    ) -> None:
        self.sharing = sharing
        self.workload = workload
        self._lab = lab
        self._settings = settings
        self._allowed = allowed
        self._rounds = 0

    def measure_round(self) -> tuple[Measurement, Measurement]:
        """Start a fresh engine of both and measure them in turns.

        Raises:
            EngineError: when an engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit one of them.
        """
        self._lab.retire(self.sharing.targets)
        self._rounds += 1
        return self.profile(*self.measure(self._rounds))

    def profile(self, a: Measurement, b: Measurement) -> tuple[Measurement, Measurement]:
        """Both measurements with a device pass of their last engines.

        Args:
            a: of the first engine.
            b: of the reference.
        """
        if self.sharing.way is Way.RESTART:  # each had its own before the other was started
            return a, b
        return self._profiled(0, a), self._profiled(1, b)

    def measure(self, number: int) -> tuple[Measurement, Measurement]:
        """Measure both in turns, on the engines that run; those that do not are started.

        Where only one of them can run at a time, the measurements have their device passes.

        Args:
            number: of the round, from 1.

        Raises:
            ReferenceEngineError: when the engine at fault is a reference interpreter's.
            EngineError: when an engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit one of them.
        """
        for target in self.sharing.targets:
            check_can_be_sent(
                self.workload, target.spec, serves=target.backend.over_http, vllm_requests=target.backend.vllm_requests
            )
        return self._one_after_the_other(number) if self.sharing.way is Way.RESTART else self._in_turns()

    def ask(self, side: int, use: Callable[[Engine], Answer]) -> Answer:
        """Do something with one of the two, started if need be.

        Args:
            side: 0 for the first engine, 1 for the reference.
            use: what to do.
        """
        targets = self.sharing.targets
        if self.sharing.way is Way.RESTART:
            with self._lab.engines([targets[side]]) as (engine,):
                return use(engine)
        with self._lab.engines(targets, asleep=self.sharing.way is Way.SLEEP) as engines:
            self._lab.wake(targets, side)
            return use(engines[side])

    def _in_turns(self) -> tuple[Measurement, Measurement]:
        targets, lab = self.sharing.targets, self._lab
        with lab.engines(targets, asleep=self.sharing.way is Way.SLEEP, timed=True) as (a, b):
            with lab.watching(targets) as sampler, lab.telling(targets[0]) as told:
                runs = measure_in_turns(
                    (a, b),
                    self.workload,
                    self._settings,
                    told,
                    lambda side: lab.wake(targets, side),
                    lambda side: of_reference(targets[side]),
                )
            measured = []
            for side, engine in enumerate((a, b)):
                lab.wake(targets, side)  # what an engine holds of the device is seen while it is awake
                with of_reference(targets[side]):
                    measured.append(self._measurement(side, runs[side], engine, sampler.traces()))
        return measured[0], measured[1]

    def _one_after_the_other(self, number: int) -> tuple[Measurement, Measurement]:
        """Each on its own start; the order changes from round to round, so that drift falls on both alike."""
        measured: dict[int, Measurement] = {}
        for side in self._order(number):
            target = self.sharing.targets[side]
            with self._lab.engines([target], timed=True) as (engine,), of_reference(target):
                with self._lab.watching([target]) as sampler, self._lab.telling(target) as told:
                    run = measure(engine, self.workload, self._settings, told)
                measured[side] = self._profiled(side, self._measurement(side, run, engine, sampler.traces()))
        return measured[0], measured[1]

    def _order(self, number: int) -> tuple[int, int]:
        """Which side is first: the one that runs already, as another test has left it, saves a start."""
        running = [slot.target for slot in self._lab.slots.running]
        runs = [side for side in (0, 1) if self.sharing.targets[side] in running]
        first = runs[0] if len(runs) == 1 else (number + 1) % 2
        return (first, 1 - first)

    def _profiled(self, side: int, run: Measurement) -> Measurement:
        targets = self.sharing.targets
        with of_reference(targets[side]):
            return self._lab.profile(
                targets[side],
                self.workload,
                self._settings,
                run,
                self._allowed,
                before=lambda: self._lab.wake(targets, side),
            )

    def _measurement(self, side: int, run: EngineRun, engine: Engine, traces: Sequence[GpuTrace]) -> Measurement:
        target = self.sharing.targets[side]
        return self._lab.measurement(target, self.workload, run, engine, traces, self._allowed)
