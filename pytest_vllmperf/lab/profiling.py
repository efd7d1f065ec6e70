"""The device pass: what an engine's GPUs do by their own clock, in iterations after the counted ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from pytest_vllmperf.engines.base import Engine, Profiles
from pytest_vllmperf.errors import EngineError, ProfileError
from pytest_vllmperf.lab import driving
from pytest_vllmperf.lab.measuring import Measuring
from pytest_vllmperf.lab.observing import observation
from pytest_vllmperf.lab.slots import Slots
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.reduce import with_device_pass
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.kernels import DevicePass, ProfiledIteration
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.run import EngineRun, MeasureSettings
from pytest_vllmperf.validity import rules as validity
from pytest_vllmperf.workload import Workload

_OF_THE_CLIENT = ("client", "usage")
"""Validity rules for figures that a client takes; the GPU's own time is none of them."""


class Profiling:
    """Makes device passes on the engines of a run.

    Args:
        slots: where they run.
        measuring: watches their devices.
    """

    def __init__(self, slots: Slots, measuring: Measuring) -> None:
        self._slots = slots
        self._measuring = measuring

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
        the pass has done its counted iterations.

        Args:
            target: the engine.
            workload: what is sent.
            settings: how often.
            run: the measurement.
            allowed: validity rules that are turned off.
            before: called once it is known that the engine can be profiled, such as to wake it.
        """
        if not settings.device_pass or run.rates:
            return run
        engine = self._slots.running_engine(target)
        if engine is None:
            return _with(run, DevicePass(reason="the engine had ended before the device pass"))
        if reason := _cannot_be_profiled(engine):
            return _with(run, DevicePass(reason=reason))
        try:
            before()
            return self._profiled(engine, target, workload, settings, run, allowed)
        except ProfileError as error:
            return _with(run, DevicePass(reason=str(error)))
        except EngineError as error:
            self._slots.discard([target])
            return _with(run, DevicePass(reason=f"the engine failed in the device pass: {error}"))

    def _profiled(
        self,
        engine: Engine,
        target: Target,
        workload: Workload,
        settings: MeasureSettings,
        run: Measurement,
        allowed: Collection[str],
    ) -> Measurement:
        self._slots.was_profiled(target)
        driver = driving.Driver(engine, workload, settings.client_processes)
        found = []
        with self._measuring.watching([target]) as sampler:
            for number in range(1, settings.device_pass + 1):
                self._measuring.iteration_progress(target)(f"device pass {number}/{settings.device_pass}")
                found.append(_iteration(engine, driver))
        results = tuple(one.result for one in found)
        gpus = () if engine.facts.on_cpu else target.gpus
        seen = observation(engine, gpus, results, sampler.traces(), self._slots.proof)
        profiled = EngineRun(engine.facts, driver.requests, (), results)
        expected = validity.Expected(workload.ignore_eos, workload.fresh_prompts)
        observed = validity.Observed(seen.traces, seen.uses, seen.occupants)
        void = validity.problems(profiled, expected, observed, (*allowed, *_OF_THE_CLIENT))
        known = {problem.rule for problem in run.problems}
        told = [Problem(one.rule, f"in the device pass: {one.words}") for one in void if one.rule not in known]
        return replace(_with(run, DevicePass(tuple(found)), seen.uses), problems=(*run.problems, *told))


def _cannot_be_profiled(engine: Engine) -> str:
    """Why an engine has no device pass, in words; empty where it can have one."""
    if engine.facts.on_cpu:
        return "the engine runs on a CPU"
    if not isinstance(engine, Profiles):
        return f"an engine of backend={engine.spec.backend!r} cannot be profiled"
    return ""


def _iteration(engine: Engine, driver: driving.Driver) -> ProfiledIteration:
    """One iteration with the profiler attached.

    Raises:
        ProfileError: when it cannot be recorded.
        EngineError: when the engine fails on the way.
    """
    assert isinstance(engine, Profiles)
    engine.profile_start()
    result = driver.iterate()
    return ProfiledIteration(engine.profile_stop(), result)


def _with(run: Measurement, found: DevicePass, uses: Sequence[GpuUse | None] = ()) -> Measurement:
    """The measurement, with what the device pass of its last engine showed."""
    counted = run.iterations[-1] if run.iterations else ()
    last = with_device_pass(run.engines[-1], counted, found, uses)
    return replace(run, engines=(*run.engines[:-1], last))
