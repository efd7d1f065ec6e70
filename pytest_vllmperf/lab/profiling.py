"""The device pass: what an engine's GPUs do by their own clock, in iterations after the counted ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pytest_vllmperf.engines.base import Engine, Profiles, able
from pytest_vllmperf.errors import EngineError, ProfileError
from pytest_vllmperf.lab import driving
from pytest_vllmperf.lab.measuring import Measuring
from pytest_vllmperf.lab.observing import observation
from pytest_vllmperf.lab.slots import Slots
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.reduce import with_device_pass
from pytest_vllmperf.metrics.waiting import without_waiting
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.kernels import DevicePass, KernelTrace, ProfiledIteration
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.run import EngineRun, MeasureSettings
from pytest_vllmperf.validity import rules as validity
from pytest_vllmperf.workload import Workload

TRACE_LIMIT: Final = 50_000_000
"""Bytes of the largest trace that is kept."""

OFF: Final = "the device pass is off"
"""Why an engine has none, where somebody turned it off."""

_OF_THE_CLIENT = ("client", "usage")
"""Validity rules for figures that a client takes; the GPU's own time is none of them."""


class Profiling:
    """Makes device passes on the engines of a run.

    Args:
        slots: where they run.
        measuring: watches their devices.
        traced: whether a trace of one iteration of each engine is kept.
    """

    def __init__(self, slots: Slots, measuring: Measuring, *, traced: bool = False) -> None:
        self._slots = slots
        self._measuring = measuring
        self._traced = traced

    def profile(
        self,
        target: Target,
        workload: Workload,
        settings: MeasureSettings,
        run: Measurement,
        allowed: Collection[str] = (),
        before: Callable[[], None] = lambda: None,
    ) -> Measurement:
        """A measurement, with a device pass of its last engine, which still runs.

        Where the pass cannot be made the measurement says why, and is otherwise what it was: an engine that dies in
        the pass has done its measured iterations.

        Args:
            target: the engine.
            workload: what is sent.
            settings: how often.
            run: the measurement.
            allowed: validity rules that are turned off.
            before: called once it is known that the engine can be profiled, such as to wake it.
        """
        if run.rates:
            return self._untraced(run, "a search for the highest rate makes no device pass")
        if not settings.device_pass:
            return self._without(run, OFF)
        engine = self._slots.running_engine(target)
        if engine is None:
            return self._without(run, "the engine had exited before the device pass")
        if reason := _cannot_be_profiled(engine, target):
            return self._without(run, reason)
        try:
            with self._slots.redacting():
                before()
                return self._profiled(engine, target, workload, settings, run, allowed)
        except ProfileError as error:
            return self._without(run, str(error))
        except EngineError as error:
            self._slots.discard([target])
            return self._without(run, f"the engine failed in the device pass: {error}")

    def _without(self, run: Measurement, reason: str) -> Measurement:
        return self._untraced(_with(run, DevicePass(reason=reason)), reason)

    def _untraced(self, run: Measurement, reason: str) -> Measurement:
        return replace(run, kernel_traces=(KernelTrace(None, reason),)) if self._traced else run

    def _profiled(
        self,
        engine: Engine,
        target: Target,
        workload: Workload,
        settings: MeasureSettings,
        run: Measurement,
        allowed: Collection[str],
    ) -> Measurement:
        driver = driving.Driver(engine, workload, settings.client_processes)
        recording = _Recording(able(engine, Profiles), settings.device_pass, self._trace_file())
        recording.start()
        self._slots.was_profiled(target)  # not before: an engine that refuses is as fast as it was
        found = []
        with self._measuring.watching([target]) as sampler:
            for number in range(1, settings.device_pass + 1):
                self._measuring.iteration_progress(target)(f"device pass {number}/{settings.device_pass}")
                found.append(recording.iteration(driver))
        results = tuple(one.result for one in found)
        gpus = () if engine.facts.on_cpu else target.gpus
        seen = observation(engine, gpus, results, sampler.traces(), self._slots.proof)
        profiled = EngineRun(engine.facts, driver.requests, (), results)
        expected = validity.Expected(workload.ignore_eos, workload.fresh_prompts)
        observed = validity.Observed(seen.traces, seen.uses, seen.occupants)
        void = validity.problems(profiled, expected, observed, (*allowed, *_OF_THE_CLIENT))
        known = {problem.rule for problem in run.problems}
        told = [Problem(one.rule, f"in the device pass: {one.words}") for one in void if one.rule not in known]
        shown = _with(run, DevicePass(tuple(found)), seen.uses)
        return replace(shown, problems=(*run.problems, *told), kernel_traces=recording.traces())

    def _trace_file(self) -> Path | None:
        return self._slots.new_file(".json.gz") if self._traced else None


class _Recording:
    """Records iterations of one engine, one after the other.

    Args:
        engine: whose GPUs are profiled.
        iterations: how many there will be.
        trace: where a trace of the last one is kept: by then the engine knows how much a recording can hold.
    """

    def __init__(self, engine: Profiles, iterations: int, trace: Path | None) -> None:
        self._engine = engine
        self._left = iterations
        self._trace = trace
        self._started = False

    def start(self) -> None:
        """Begin the next iteration, unless it has begun.

        Raises:
            ProfileError: when the engine cannot be profiled.
        """
        if not self._started:
            self._engine.profile_start(self._trace if self._left == 1 else None)
            self._started = True

    def iteration(self, driver: driving.Driver) -> ProfiledIteration:
        """One iteration with the profiler attached.

        Raises:
            ProfileError: when it cannot be recorded.
            EngineError: when the engine fails on the way.
        """
        self.start()
        result = driver.iterate()
        self._left, self._started = self._left - 1, False
        return ProfiledIteration(without_waiting(self._engine.profile_stop()), result)

    def traces(self) -> tuple[KernelTrace, ...]:
        """The trace, or why there is none; empty where nobody asked for one."""
        if self._trace is None:
            return ()
        if not self._trace.exists():
            return (KernelTrace(None, "the engine could not write it"),)
        if (size := self._trace.stat().st_size) > TRACE_LIMIT:
            self._trace.unlink()
            return (KernelTrace(None, f"it had {size / 1e6:,.0f} MB, more than {TRACE_LIMIT / 1e6:.0f} MB"),)
        return (KernelTrace(self._trace),)


def _cannot_be_profiled(engine: Engine, target: Target) -> str:
    """Why an engine has no device pass, in words; empty where it can have one."""
    if isinstance(engine, Profiles):
        return engine.unprofiled
    return f"{target.backend.label} cannot be profiled by this plugin"


def _with(run: Measurement, found: DevicePass, uses: Sequence[GpuUse | None] = ()) -> Measurement:
    """The measurement, with what the device pass of its last engine showed."""
    counted = run.iterations[-1] if run.iterations else ()
    last = with_device_pass(run.engines[-1], counted, found, uses)
    return replace(run, engines=(*run.engines[:-1], last))
