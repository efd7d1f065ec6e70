"""Measures the points of a study, one after another, and keeps each result at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep import plan
from pytest_vllmperf.sweep.findings import curves, load_axis
from pytest_vllmperf.sweep.measuring import PointMeasurer
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

    Points of one engine spec come one after another, so that each engine is started once.

    Args:
        study: what is measured.
        results: its results so far; each new one is written at once.
        measurer: of points.
        progress: called before each point, and at the end.
    """

    def __init__(
        self,
        study: Study,
        results: Results,
        measurer: PointMeasurer,
        progress: Callable[[Progress], None],
    ) -> None:
        self._study = study
        self._results = results
        self._measurer = measurer
        self._progress = progress
        self._spec_key = measurer.spec_key

    def run(self) -> None:
        """Measure all points, and those of knees that are not decided again.

        Raises:
            BaselineError: when a result cannot be written, or was measured on other hardware than those before it.
            NoGpuError: when no GPU is there that the engines need.
        """
        better = METRICS[self._study.metric].better
        while missing := plan.next_points(self._study.space, self._results.points, self._study.metric, better)[0]:
            self._measure(plan.grouped(missing, self._spec_key))
        for number in range(self._study.replicates):
            points = self._undecided()
            if not points or not self._replicate(points, number + 1):
                break
        self._tell(())

    def _measure(self, ordered: Sequence[Point]) -> None:
        """Measure points for the first time."""
        for place, point in enumerate(ordered):
            self._tell(ordered[place:])
            self._keep(point, self._measurer.measured(point))

    def _replicate(self, points: Sequence[Point], number: int) -> bool:  # noqa: ARG002 - of the round, for several workers
        """Measure points on a fresh engine each; returns whether a sample was added."""
        fresh: set[str] = set()
        done = False
        for point in points:
            self._tell((), f"again: {self._words(point)}")
            done |= self._add(point, self._measurer.once_more(point, fresh))
        return done

    def _keep(self, point: Point, result: PointResult) -> None:
        self._results.put(point, result)

    def _tell(self, left: Sequence[Point], doing: str = "") -> None:
        """Say how far it is; of later stages only the number of points is known."""
        points = self._results.points
        total = max(self._study.space.count, len(points))
        rest = total - len(points)
        starts = len({self._spec_key(point) for point in left})
        if doing or left:
            doing = doing or self._words(left[0])
        known = plan.Rest([point.values for point in left], max(0, rest - len(left)), starts, self._workers(starts))
        seconds = plan.seconds_left(points.values(), known, load_axis(self._study.space)) if left else None
        failed = sum(1 for one in points.values() if not one.sound)
        self._progress(Progress(len(points), total, failed, seconds, doing))

    def _workers(self, starts: int) -> int:  # noqa: ARG002 - engines that are left, for several workers
        """How many points are measured at the same time."""
        return 1

    def _words(self, point: Point) -> str:
        return " ".join(f"{name}={value}" for name, value in point.values.items())

    def _undecided(self) -> list[Point]:
        """The points that leave a knee open, as far as they may be measured again."""
        most = 1 + self._study.replicates
        found = curves(self._study.space, list(self._results.points.values()))
        again = [one for curve in found for one in curve.undecided() if len(one.engines) < most]
        return plan.grouped(map(Point.of, (one.settings for one in again)), self._spec_key)

    def _add(self, point: Point, samples: tuple[EngineSamples, ...]) -> bool:
        """One more engine's samples of a point; a replicate that failed or is void leaves the point as it was."""
        if not samples:
            return False
        before = self._results.points[point]
        self._results.put(point, before.model_copy(update={"engines": (*before.engines, *samples)}))
        return True
