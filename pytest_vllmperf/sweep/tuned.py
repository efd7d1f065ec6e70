"""What a search came to, made of its results and its race. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from pytest_vllmperf import stats
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.records.tuning import Best, Contender, Gain, Tried, Tuned
from pytest_vllmperf.sweep.promise import RATE, SHARE, Promise, least_share, level
from pytest_vllmperf.sweep.race import ERROR, MARGIN, Standing, interval, ratio
from pytest_vllmperf.sweep.results import Results
from pytest_vllmperf.sweep.serving import ServeStudy
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.tuner import Measurer, Tuner

_TTFT: Final = "ttft.p50"


class Findings:
    """Reads what a search that ran came to.

    Args:
        study: its points.
        promise: what requests have to keep.
        results: all that was measured.
        measurer: knows which points share an engine.
        tuner: after its run.
    """

    def __init__(self, study: ServeStudy, promise: Promise, results: Results, measurer: Measurer, tuner: Tuner) -> None:
        self._study = study
        self._promise = promise
        self._results = results
        self._measurer = measurer
        self._tuner = tuner

    def tuned(self) -> Tuned:
        """All of it."""
        tuner, study = self._tuner, self._study
        tried = tuple(map(self._tried, tuner.tried))
        now = tuner.standing if tuner.round else None
        contenders = [self._contender(point, now) for point in tuner.raced if tuner.replicates(point)]
        return Tuned(
            name=study.spec_of(study.point(study.default, study.load.values[0])).label,
            slo=self._promise.slo,
            share=self._promise.share,
            tried=tried,
            engines=study.space.count // len(study.load.values),
            points=len(self._results.points),
            starts=self._starts(),
            contenders=tuple(sorted(contenders, key=lambda one: (not one.keeps, -one.rate))),
            best=None if now is None else self._best(now),
            nearest=None if now is not None else self._nearest(),
            failed=_failed(list(self._results.points.values())),
        )

    def _tried(self, engine: Point) -> Tried:
        best = self._tuner.best_of(engine)
        return self._point(best or self._tuner.tried[engine][0], 1)

    def _point(self, point: Point, most: int | None = None) -> Tried:
        """A point by its first engines; all of them where `most` is None."""
        one = self._results.points[point]
        engines = () if one.problems else one.engines[:most]
        share = level(engines, SHARE)
        return Tried(point.values, level(engines, RATE), share, one.words, self._promise.kept_by(share) and one.sound)

    def _nearest(self) -> Tried | None:
        """The point with the most requests that kept the promise, on all of its engines."""
        found = [self._point(point) for point in self._results.points]
        return max((one for one in found if one.share is not None), key=lambda one: one.share or 0.0, default=None)

    def _contender(self, point: Point, now: Standing[Point] | None) -> Contender:
        tuner = self._tuner
        engines = tuner.replicates(point)
        values, keeps = tuner.values(point), tuner.keeps(point)
        ttft = [values for engine in engines if (values := engine.values(_TTFT))]
        found = None
        if now is not None and point != now.best and keeps and min(values) > 0:
            comparisons = max(1, tuner.looks * (len(tuner.raced) - 1))
            found = ratio(values, tuner.values(now.best), tuner.noise, ERROR / comparisons)
        return Contender(
            settings=point.values,
            rate=level(engines, RATE) or 0.0,
            share=level(engines, SHARE) or 0.0,
            ttft=stats.center(ttft) if ttft else None,
            engines=len(engines),
            keeps=keeps,
            ratio=None if found is None else found.ratio,
            low=None if found is None else found.low,
            high=None if found is None else found.high,
            requests=self._results.points[point].requests * sum(len(engine.values(SHARE)) for engine in engines),
        )

    def _best(self, now: Standing[Point]) -> Best:
        """The recommendation. Of those that are not told apart: the default engine, else the lowest TTFT.

        Only those count whose goodput is within the margin of the best, whatever their interval.
        """
        tuner = self._tuner
        open_ = [now.best, *(one for one in now.alike if now.rivals[one].ratio >= 1 - MARGIN)]
        contenders = {point: self._contender(point, now) for point in open_}
        chosen = min(open_, key=lambda one: (not self._is_default(one), _ttft(contenders[one])))
        own = interval(tuner.values(chosen), tuner.noise, ERROR / tuner.looks)
        known = tuner.noise.freedom > 0
        return Best(
            point=contenders[chosen],
            low=own.low if known else None,
            high=own.high if known else None,
            spec=self._study.spec_of(chosen),
            default=self._is_default(chosen),
            at_end=chosen.values[self._study.load.name] == self._study.load.values[-1],
            decided=now.decided,
            alike=tuple(one.values for one in (now.best, *now.alike) if one != chosen),
            least_share=least_share(contenders[chosen].share, contenders[chosen].requests),
            gains=() if self._is_default(chosen) else tuple(self._gains(chosen)),
        )

    def _gains(self, chosen: Point) -> list[Gain]:
        """Against the default engine at the same load, and at its own best load where that is another."""
        tuner = self._tuner
        own = [
            point
            for point in tuner.raced
            if self._is_default(point) and tuner.keeps(point) and len(tuner.values(point)) == tuner.round
        ]
        best = max(own, key=lambda point: level(tuner.replicates(point), RATE) or 0.0, default=None)
        points = [tuner.beside(chosen), *([best] if best is not None else [])]
        return [self._gain(chosen, point) for point in dict.fromkeys(points)]

    def _gain(self, chosen: Point, default: Point) -> Gain:
        tuner = self._tuner
        engines, values = tuner.replicates(default), tuner.values(default)
        rate, share = level(engines, RATE), level(engines, SHARE)
        if rate is None or share is None:
            words = self._results.points[default].words or "it was not measured again"
            return Gain(default.values, None, None, keeps=False, words=words)
        if min(values) <= 0:
            return Gain(default.values, rate, share, keeps=False, words="no request of an engine met the SLO")
        found = ratio(tuner.values(chosen), values, tuner.noise, ERROR / tuner.looks)
        keeps = tuner.keeps(default)
        return Gain(default.values, rate, share, keeps, ratio=found.ratio, low=found.low, high=found.high)

    def _is_default(self, point: Point) -> bool:
        return point == self._tuner.beside(point)

    def _starts(self) -> int:
        """Engines: those of first measurements, and one for each round of each engine that was measured again."""
        again: dict[str, int] = {}
        for point, one in self._results.points.items():
            key = self._measurer.spec_key(point)
            again[key] = max(again.get(key, 0), len(one.engines) - 1)
        return sum(one.started for one in self._results.points.values()) + sum(again.values())


def _ttft(one: Contender) -> float:
    return inf if one.ttft is None else one.ttft


def _failed(results: Sequence[PointResult]) -> tuple[tuple[str, int], ...]:
    """Why points failed or are void, each reason once."""
    found: dict[str, int] = {}
    for one in results:
        if reason := one.detail if one.reason else "; ".join(map(str, one.problems)):
            text = f"{one.reason or 'void'}: {reason}"
            found[text] = found.get(text, 0) + 1
    return tuple(found.items())


def nothing_measured(found: Tuned) -> bool:
    """Whether all points failed or are void."""
    return all(one.rate is None for one in found.tried)
