"""The search for the engine arguments with the highest goodput: engines are tried, then leaders are measured again.

Whatever is measured is a point of the results file, and what comes next follows from the file and the seed alone. So a
search that was ended goes on where it was, and comes to the same.

The engine on which the search found a point never counts when leaders are compared: of many points, the one that was
luckiest would win. Leaders and the default engine are measured in the same rounds, on a fresh engine each round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult, Values
from pytest_vllmperf.sweep import asking, plan
from pytest_vllmperf.sweep.climb import next_load
from pytest_vllmperf.sweep.promise import RATE, SHARE, Promise, level, levels, replicates
from pytest_vllmperf.sweep.race import Noise, Standing, pooled, standing
from pytest_vllmperf.sweep.results import Results
from pytest_vllmperf.sweep.serving import ServeStudy
from pytest_vllmperf.sweep.space import Point

LEADERS: Final = 4
"""Engines that are measured again at once."""
_FIRST_LOOK: Final = 2
"""Replicates of each point before anything is compared."""
FAILED_AGAIN: Final = "failed when measured again"


class Measurer(Protocol):
    """What measures points: see `PointMeasurer`."""

    @property
    def spec_key(self) -> Callable[[Point], str]:
        """The key of a point's engine."""

    def measured(self, point: Point) -> PointResult:
        """One point; what fails is its result."""

    def once_more(self, point: Point, fresh: set[str]) -> tuple[EngineSamples, ...]:
        """Samples on an engine that is fresh in this round; empty where it failed or is void."""


class Tuner:
    """Searches, and decides.

    Args:
        study: points.
        promise: what requests have to keep.
        results: what is measured so far; each new point is written at once.
        measurer: of points.
        told: called with a line for each point.
    """

    def __init__(
        self, study: ServeStudy, promise: Promise, results: Results, measurer: Measurer, told: Callable[[str], None]
    ) -> None:
        self._study = study
        self._promise = promise
        self._results = results
        self._measurer = measurer
        self._told = told
        self.tried: dict[Point, list[Point]] = {}
        """For each engine the points on the way to its best load; the default engine first, then as they were tried."""
        self.raced: list[Point] = []
        """Points that were measured again in the last heat, those of the default engine among them."""
        self.round = 0
        """Replicates of each point that is still in the race."""

    def run(self, trials: int, seed: int) -> None:
        """Try engines, then measure leaders again until one is decided, or replicates are used up.

        Args:
            trials: engines that are tried at most, the default one not counted.
            seed: of the search.

        Raises:
            BaselineError: when a result cannot be written, or was measured on other hardware than those before it.
            NoGpuError: when no GPU is there that the engines need.
            SpecError: where Optuna is needed and missing.
        """
        if asking.larger(self._study.axes, trials):
            asking.optuna()  # before anything is measured
        self._climbed(self._study.default)
        if self._study.axes:
            asking.search(self._study.axes, trials, seed, self._climbed)
        waiting = self._ranked()
        while waiting and not self._race(waiting[:LEADERS]):
            waiting = waiting[LEADERS:]

    def best_of(self, engine: Point) -> Point | None:
        """The point of an engine with the best score on the first engine; None where all failed or are void."""
        scored = [point for point in self.tried[engine] if self.score(point) is not None]
        return max(scored, key=lambda point: self.score(point) or 0.0, default=None)

    def score(self, point: Point) -> float | None:
        """See `Promise.score`; None for a point that is not measured."""
        one = self._results.points.get(point)
        return None if one is None else self._promise.score(one)

    def replicates(self, point: Point) -> tuple[EngineSamples, ...]:
        """Engines of a point that count in the race so far; none where it failed when it was measured again."""
        one = self._results.points.get(point)
        return () if one is None else replicates(one, self.round)

    def values(self, point: Point) -> list[float]:
        """Goodput on each replicate."""
        return levels(self.replicates(point), RATE)

    def keeps(self, point: Point) -> bool:
        """Whether enough requests of all replicates kept the promise."""
        return self._promise.kept_by(level(self.replicates(point), SHARE))

    @property
    def noise(self) -> Noise:
        """Of engines, from all that was measured again."""
        return pooled([self.values(point) for point in self._results.points])

    @property
    def looks(self) -> int:
        """How often a race is looked at, at most."""
        return max(1, self._study.replicates - _FIRST_LOOK + 1)

    @property
    def standing(self) -> Standing[Point] | None:
        """Where the race stands, among points that are still in it; None where none keeps the promise."""
        values = {point: self.values(point) for point in self.raced if self.keeps(point)}
        now = {point: own for point, own in values.items() if len(own) == self.round}
        return standing(now, self.noise, self.looks * (len(self.raced) - 1)) if now else None

    def beside(self, point: Point) -> Point:
        """The engine with its default arguments at the load of a point."""
        return self._study.point(self._study.default, self._load(point))

    def _load(self, point: Point) -> Any:
        return point.values[self._study.load.name]

    def _climbed(self, engine: Values) -> float | None:
        """Measure an engine on the way to its best load; what it came to there.

        What the results hold beside that way is not looked at: a search that goes on has to go the same way.
        """
        loads = self._study.load.values
        rates: dict[int, float | None] = {}
        visited = self.tried.setdefault(Point.of(engine), [])
        while (place := next_load(len(loads), rates)) is not None:
            point = self._study.point(engine, loads[place])
            self._measure(point, f"engine {len(self.tried)}")
            score = self.score(point)
            rates[place] = score if score is not None and score > 0 else None
            if point not in visited:
                visited.append(point)
        return max((score for point in visited if (score := self.score(point)) is not None), default=None)

    def _measure(self, point: Point, what: str) -> None:
        """Measure a point that is not yet."""
        if point in self._results.points:
            return
        result = self._measurer.measured(point)
        self._results.put(point, result)
        score = self._promise.score(result)
        outcome = result.words if score is None else f"{max(0.0, score):.4g} requests/s"
        if score is not None and score <= 0:
            outcome = f"SLO not met, {1 + score:.1%} did"
        self._told(f"{what}: {point.words}: {outcome}")

    def _ranked(self) -> list[Point]:
        """Engines that keep the promise at a load, the best first."""
        scores = {engine: self.score(best) or 0.0 for engine in self.tried if (best := self.best_of(engine))}
        return sorted((engine for engine, score in scores.items() if score > 0), key=lambda engine: -scores[engine])

    def _contenders(self, engine: Point) -> list[Point]:
        """The best point of an engine, and the next smaller load: the best may have been lucky to keep the promise."""
        kept = sorted((point for point in self.tried[engine] if (self.score(point) or 0.0) > 0), key=self._load)
        if not kept:
            return []
        place = max(range(len(kept)), key=lambda place: self.score(kept[place]) or 0.0)
        return kept[max(0, place - 1) : place + 1]

    def _race(self, engines: Sequence[Point]) -> bool:
        """Measure points of these engines and of the default one again; False where none keeps the promise then."""
        own = [point for engine in engines for point in self._contenders(engine)]
        own += self._contenders(Point.of(self._study.default))
        self.raced = list(dict.fromkeys([*own, *map(self.beside, own)]))
        for point in self.raced:
            self._measure(point, "default arguments")
        alive = self.raced
        now = None
        for number in range(1, self._study.replicates + 1):
            self.round = number
            self._replicate(alive)
            if self.round >= _FIRST_LOOK:
                now = self.standing
                if now is None or now.decided:
                    break
                alive = self._alive(now)
        return now is not None

    def _alive(self, now: Standing[Point]) -> list[Point]:
        """Points that may still be the best, and what they are compared with."""
        open_ = [now.best, *now.alike]
        default = [*self._contenders(Point.of(self._study.default)), *map(self.beside, open_)]
        return [point for point in self.raced if point in open_ or point in default]

    def _replicate(self, points: Sequence[Point]) -> None:
        """One more engine's samples of each point that has too few for this round."""
        fresh: set[str] = set()
        for point in plan.grouped(points, self._measurer.spec_key):
            before = self._results.points[point]
            if not before.sound or len(before.engines) > self.round:
                continue
            samples = self._measurer.once_more(point, fresh)
            if samples:
                after = before.model_copy(update={"engines": (*before.engines, *samples)})
            else:
                detail = f"replicate {self.round} failed or is void; --retry measures the point anew"
                after = before.model_copy(update={"reason": FAILED_AGAIN, "detail": detail})
            self._results.put(point, after)
            self._told(f"again, {self.round} of up to {self._study.replicates}: {point.words}: {_outcome(samples)}")


def _outcome(samples: Sequence[EngineSamples]) -> str:
    rate = level(samples, RATE)
    return "failed or void" if rate is None else f"{rate:.4g} requests/s"
