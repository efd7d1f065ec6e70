"""Measures the points of a study, one after another, and keeps each result at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pytest_vllmperf.errors import BaselineError, EngineError, EngineStartError, SpecError, WorkloadError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep import failures, plan
from pytest_vllmperf.sweep.findings import curves
from pytest_vllmperf.sweep.results import Results
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import Study


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: finished points, those of an earlier run with them.
        total: all points.
        failed: of the finished ones.
        left: seconds that the rest takes; None while nothing tells.
        doing: what is measured now.
    """

    done: int
    total: int
    failed: int
    left: float | None
    doing: str


class Runner:
    """Measures what is missing of a study.

    An engine is started once for each distinct spec. One that failed on the way is started again for its next point;
    one that did not start is not tried again: all points of its spec fail for the same reason.

    Args:
        study: what is measured.
        results: its results so far; each new one is written at once.
        lab: measures.
        progress: called before each point, and at the end.
        clock: in seconds.
    """

    def __init__(
        self,
        study: Study,
        results: Results,
        lab: Lab,
        progress: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study = study
        self._results = results
        self._lab = lab
        self._progress = progress
        self._clock = clock
        self._refused: dict[str, EngineStartError] = {}
        self._spec_key = lru_cache(maxsize=None)(lambda point: study.spec_of(point).key)

    def run(self) -> None:
        """Measure all points, and those of knees that are not decided again.

        Raises:
            BaselineError: when a result cannot be written, or was measured on other hardware than those before it.
            NoGpuError: when no GPU is there that the engines need.
        """
        better = METRICS[self._study.metric].better
        while missing := plan.next_points(self._study.space, self._results.points, self._study.metric, better)[0]:
            ordered = plan.grouped(missing, self._spec_key)
            for place, point in enumerate(ordered):
                self._tell(ordered[place:])
                self._results.put(point, self._measured(point))
        for _ in range(self._study.replicates):
            if not self._replicated():
                break
        self._tell(())

    def _tell(self, left: Sequence[Point], doing: str = "") -> None:
        """Say how far it is; of later stages only the number of points is known."""
        points = self._results.points
        total = max(self._study.space.count, len(points))
        rest = total - len(points)
        starts = len({self._spec_key(point) for point in left})
        if doing or left:
            doing = doing or self._words(left[0])
        seconds = plan.seconds_left(points.values(), rest, starts) if left else None
        failed = sum(1 for one in points.values() if one.reason)
        self._progress(Progress(len(points), total, failed, seconds, doing))

    def _words(self, point: Point) -> str:
        return " ".join(f"{name}={value}" for name, value in point.values.items())

    def _measured(self, point: Point) -> PointResult:
        """One point; what fails is its result. Devices that cannot be had end the sweep: no point would get them."""
        begun = self._clock()
        started = False
        try:
            target = self._lab.target(self._study.spec_of(point), None)
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
        self._check_hardware(measurement)
        return PointResult(
            settings=point.values,
            profile=measurement.profile,
            problems=measurement.problems,
            engines=tuple(map(_kept, measurement.engines)),
            requests=self._study.workload_of(point).count,
            seconds=self._clock() - begun,
            started=started,
        )

    def _sound(self, target: Target, point: Point) -> Measurement:
        """A measurement; one that is void for a reason that may be gone is made again, once, on a fresh engine."""
        measurement = self._take(target, point)
        if not measurement.transient:
            return measurement
        self._lab.retire([target])
        return self._take(target, point)

    def _take(self, target: Target, point: Point) -> Measurement:
        return self._lab.measure(target, self._study.workload_of(point), self._study.measuring, self._study.allow)

    def _check_hardware(self, measurement: Measurement) -> None:
        """Refuse to mix figures of two kinds of hardware."""
        before = next((one.profile for one in self._results.points.values() if one.profile), measurement.profile)
        if before != measurement.profile:
            raise BaselineError(
                f"{self._results.path}: its points were measured on {before}, and this is {measurement.profile}; name "
                "another file with --results"
            )

    def _replicated(self) -> bool:
        """Measure the points that leave a knee open on a fresh engine each; False where there is none."""
        most = 1 + self._study.replicates
        found = curves(self._study.space, list(self._results.points.values()))
        again = [one for curve in found for one in curve.undecided() if len(one.engines) < most]
        points = plan.grouped(map(Point.of, (one.settings for one in again)), self._spec_key)
        fresh: set[str] = set()
        done = False
        for point in points:
            self._tell((), f"again: {self._words(point)}")
            target = self._lab.target(self._study.spec_of(point), None)
            if target.spec.key not in fresh:
                fresh.add(target.spec.key)
                self._lab.retire([target])
            done |= self._added(target, point)
        return done

    def _added(self, target: Target, point: Point) -> bool:
        """One more engine's samples of a point; a replicate that failed or is void leaves the point as it was."""
        try:
            measurement = self._sound(target, point)
        except EngineError:
            return False
        if measurement.problems:
            return False
        before = self._results.points[point]
        engines = (*before.engines, *map(_kept, measurement.engines))
        self._results.put(point, before.model_copy(update={"engines": engines}))
        return True


def _failed(point: Point, error: Exception) -> PointResult:
    return PointResult(settings=point.values, reason=failures.reason(error), detail=" ".join(str(error).split()))


def _kept(engine: EngineSamples) -> EngineSamples:
    """What a results file keeps of an engine: samples of all metrics, without what only a verdict needs."""
    return engine.model_copy(update={"warmup": {}, "ttft_by_request": [], "kernels": []})
