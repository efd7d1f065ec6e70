"""Measures one point of a study on a lab; what fails is its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from pytest_vllmperf.errors import EngineError, EngineStartError, SpecError, WorkloadError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.promised import promised
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep import failures
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import Study

_VERSION: Final = "version of "
"""How the keys of an environment begin that are versions."""


class PointMeasurer:
    """Measures points of a study, each on an engine of its spec.

    An engine is started once for each distinct spec, while it runs. One that failed on the way is started again for its
    next point; one that did not start is not tried again: all points of its spec fail for the same reason.

    Args:
        study: whose points.
        lab: starts engines and drives them.
        clock: in seconds.
    """

    def __init__(self, study: Study, lab: Lab, clock: Callable[[], float] = time.monotonic) -> None:
        self._study = study
        self._lab = lab
        self._clock = clock
        self._refused: dict[str, EngineStartError] = {}
        self.spec_key = lru_cache(maxsize=None)(lambda point: study.spec_of(point).key)
        """The key of a point's engine: points with equal keys share one."""

    def measured(self, point: Point) -> PointResult:
        """One point; what fails is its result.

        Raises:
            NoGpuError: when no GPU is there that the engine needs: no point would get one.
        """
        begun = self._clock()
        started = False
        try:
            target = self._lab.target(self._study.spec_of(point), self._study.gpu)
        except SpecError as error:
            return _failed(point, error)
        try:
            if refused := self._refused.get(target.spec.key):
                raise refused
            started = self._lab.slots.running_engine(target) is None
            measurement = self._sound(target, point)
        except (EngineError, WorkloadError, SpecError) as error:
            if isinstance(error, EngineStartError):
                self._refused[target.spec.key] = error
            return _failed(point, error)
        return PointResult(
            settings=point.values,
            profile=measurement.profile,
            versions=_versions(measurement.environment.soft),
            problems=measurement.problems,
            engines=tuple(map(_kept, measurement.engines)),
            requests=self._study.workload_of(point).count,
            seconds=self._clock() - begun,
            started=started,
        )

    def once_more(self, point: Point, fresh: set[str]) -> tuple[EngineSamples, ...]:
        """Samples of one more measurement, on an engine that is fresh in this round; empty where it failed or is void.

        Args:
            point: which one.
            fresh: the keys of the engines that were replaced in this round; that of this point's engine is added.
        """
        target = self._lab.target(self._study.spec_of(point), self._study.gpu)
        if target.spec.key not in fresh:
            fresh.add(target.spec.key)
            self._lab.retire([target])
        try:
            measurement = self._sound(target, point)
        except EngineError:
            return ()
        return () if measurement.problems else tuple(map(_kept, measurement.engines))

    def _sound(self, target: Target, point: Point) -> Measurement:
        """A measurement; one that is void for a reason that may be gone is made again, once, on a fresh engine."""
        measurement = self._take(target, point)
        if not measurement.transient:
            return measurement
        self._lab.retire([target])
        return self._take(target, point)

    def _take(self, target: Target, point: Point) -> Measurement:
        study = self._study
        run = self._lab.measure(target, study.workload_of(point), study.measuring, study.allow)
        return promised(run, study.slo)


def _versions(told: Mapping[str, str]) -> dict[str, str]:
    """By package, of what the environment of a measurement tells."""
    return {name.removeprefix(_VERSION): version for name, version in told.items() if name.startswith(_VERSION)}


def _failed(point: Point, error: Exception) -> PointResult:
    return PointResult(settings=point.values, reason=failures.reason(error), detail=" ".join(str(error).split()))


def _kept(engine: EngineSamples) -> EngineSamples:
    """What a results file keeps of an engine: samples of all metrics, without what only a verdict needs."""
    return engine.model_copy(update={"warmup": {}, "ttft_by_request": [], "kernels": []})
