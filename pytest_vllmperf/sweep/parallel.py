"""Measures the points of a study on several workers at the same time; the results are those of one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep import plan
from pytest_vllmperf.sweep.cluster import Workers
from pytest_vllmperf.sweep.dealing import Dealing
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.messages import Doing, Event, Finished, Job, Lost, Ready, Starting, Withdrawn
from pytest_vllmperf.sweep.results import Results
from pytest_vllmperf.sweep.runner import Progress, Runner
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import Study

LOST = "worker lost"
_EVENT_S = 5.0
_DIFFERENT = "so their figures cannot stand in one file"


@dataclass(frozen=True)
class Listeners:
    """Who is told what, for a person.

    Attributes:
        points: how far the sweep is.
        doing: what an engine does, and for how many seconds.
        note: what has to be known beside the results, in a line.
    """

    points: Callable[[Progress], None]
    doing: Callable[[str, float], None]
    note: Callable[[str], None]


@dataclass
class _Crew:
    """The workers that are there.

    Attributes:
        there: each with its greeting.
        coming: how many are to come.
        why: the last one that was lost said so.
    """

    there: dict[int, Ready] = field(default_factory=dict)
    coming: int = 1
    why: str = ""


class ParallelRunner(Runner):
    """Measures what is missing of a study on several workers.

    All points of one engine spec go to one worker, so that each engine is started once.

    Args:
        study: what is measured.
        results: its results so far; each new one is written at once, by this process alone.
        measurer: knows which points share an engine; it measures nothing.
        workers: that measure.
        listeners: who is told.
    """

    def __init__(
        self,
        study: Study,
        results: Results,
        measurer: PointMeasurer,
        workers: Workers,
        listeners: Listeners,
    ) -> None:
        super().__init__(study, results, measurer, listeners.points)
        self._on = workers
        self._listeners = listeners
        self._crew = _Crew()
        self._started = time.monotonic()
        self._hardware = any(row.on_hardware for row in BACKENDS.rows if row.name in _backends(study))

    def _measure(self, ordered: Sequence[Point]) -> None:
        self._share(ordered, 0, self._kept)
        better = METRICS[self._study.metric].better
        order = plan.in_order(self._study.space, self._results.points, self._study.metric, better, self._spec_key)
        self._results.arrange(order)

    def _replicate(self, points: Sequence[Point], number: int) -> bool:
        added: list[bool] = []
        self._share(points, number, lambda point, told: added.append(self._add(point, told.samples)))
        return any(added)

    def _workers(self, starts: int) -> int:
        return max(1, min(len(self._crew.there), starts))

    def _kept(self, point: Point, told: Finished) -> None:
        if told.result is None or Point.of(told.result.settings) != point:
            raise EngineError("a worker has told another point than it was given")
        self._keep(point, told.result)

    def _share(self, points: Sequence[Point], again: int, take: Callable[[Point, Finished], None]) -> None:
        """Have points measured until each is finished or given up."""
        groups: dict[str, list[Point]] = {}
        for point in points:
            groups.setdefault(self._spec_key(point), []).append(point)
        dealing = Dealing(groups.values())
        resting: set[int] = set()
        if not self._crew.there:
            self._tell(() if again else points, "starting workers")
        while not dealing.over:
            self._deal(dealing, again, resting)
            event = self._on.event(_EVENT_S)
            if isinstance(event, Finished):
                point = Point.of(event.job.settings)
                if event.job.again == again and dealing.finished(event.worker, point):
                    take(point, event)
            elif isinstance(event, (Lost, Withdrawn)):
                self._less(event, dealing, again)
            elif event is not None:
                self._hear(event)
        for worker in self._crew.there:
            if worker not in resting:
                self._on.rest(worker)

    def _deal(self, dealing: Dealing[Point], again: int, resting: set[int]) -> None:
        """Give points to workers that have none; those that get none give their devices back, as others may wait."""
        busy = dealing.busy
        for worker in self._crew.there:
            if worker in busy:
                continue
            if (point := dealing.next(worker)) is not None:
                resting.discard(worker)
                self._tell(() if again else dealing.left, f"{'again: ' if again else ''}{self._words(point)}")
                self._on.measure(worker, Job(settings=point.values, again=again))
            elif worker not in resting:
                resting.add(worker)
                self._on.rest(worker)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Doing):
            who = f"worker {event.worker}: " if len(self._crew.there) > 1 else ""
            self._listeners.doing(f"{who}{event.doing}", event.waited)
        elif isinstance(event, Starting):
            self._crew.coming = event.coming
        elif isinstance(event, Ready):
            self._greet(event)
        elif not self._crew.there:
            self._listeners.doing("waiting for Ray to start workers", time.monotonic() - self._started)

    def _greet(self, new: Ready) -> None:
        """A worker is there: it must be as the others are.

        Raises:
            EngineError: where its hardware or versions differ.
        """
        self._crew.coming -= 1
        for other in self._crew.there.values():
            if self._hardware and other.hardware != new.hardware:
                raise EngineError(f"{other.host} has {other.hardware}, and {new.host} has {new.hardware}; {_DIFFERENT}")
            if other.versions != new.versions:
                raise EngineError(f"{other.host} has {_words(other)}, and {new.host} has {_words(new)}; {_DIFFERENT}")
        if self._hardware and new.nice > 0:
            self._listeners.note(
                f"{new.host}: Ray runs its workers with niceness {new.nice}, so a busy host slows their engines down; "
                "start its nodes with RAY_worker_niceness=0"
            )
        if self._hardware and new.gpus and [one.host for one in self._crew.there.values()].count(new.host) == 1:
            self._listeners.note(
                f"{new.host}: its workers measure at the same time and share its processor cores; where these are the "
                "limit, figures are lower than in a sweep without --ray"
            )
        self._crew.there[new.worker] = new

    def _less(self, event: Lost | Withdrawn, dealing: Dealing[Point], again: int) -> None:
        """A worker is gone.

        Raises:
            EngineError: where no other is there or to come.
        """
        lost = isinstance(event, Lost)
        host = self._crew.there.pop(event.worker, None)
        self._crew.why = event.why
        self._crew.coming = event.coming if isinstance(event, Lost) else self._crew.coming
        where = host.host if host else "a worker that did not start"
        given_up = dealing.lost(event.worker, blamed=lost)
        if given_up is not None and not again:
            detail = f"its worker was lost each time it was measured, the last time on {where}: {event.why}"
            self._results.put(given_up, PointResult(settings=given_up.values, reason=LOST, detail=detail))
        self._listeners.note(f"{where}: {'lost' if lost else 'withdrawn'}: {event.why}")
        if not self._crew.there and not self._crew.coming:
            raise EngineError(
                f"no worker is left: {event.why}; finished points are in {self._results.path}, and the same command "
                "goes on from there"
            )


def _backends(study: Study) -> set[str]:
    named = {str(study.engine.get("backend", "offline"))}
    return named.union(*(map(str, axis.values) for axis in study.space.axes if axis.name == "backend"))


def _words(worker: Ready) -> str:
    return ", ".join(f"{name} {version}" for name, version in worker.versions.items())
