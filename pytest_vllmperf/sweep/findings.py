"""What the results of a study say: figures, the front, knees and cliffs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.sweep import Cliff, Figures, Findings, Knee, PointResult, Values
from pytest_vllmperf.sweep import plan
from pytest_vllmperf.sweep.front import falls, pareto
from pytest_vllmperf.sweep.knee import FEWEST_LOADS, find_knee
from pytest_vllmperf.sweep.loads import LOADS
from pytest_vllmperf.sweep.space import Point, Space
from pytest_vllmperf.sweep.study import Study

THROUGHPUT: Final = "output_throughput"
_FEWEST_FOR_P99: Final = 100


@dataclass(frozen=True)
class Curve:
    """Points that differ in the load alone.

    Attributes:
        axis: the load.
        others: the values of all other axes.
        points: with figures that count, loads ascending; at least `FEWEST_LOADS`.
        without: loads whose points failed or are void, ascending.
    """

    axis: str
    others: Values
    points: tuple[PointResult, ...]
    without: tuple[float, ...] = ()

    @property
    def loads(self) -> list[float]:
        """Ascending."""
        return [one.settings[self.axis] for one in self.points]

    @property
    def knee(self) -> Knee:
        """By the rule of `sweep.knee`."""
        place = find_knee([one.samples(THROUGHPUT) for one in self.points])
        found = self.loads
        return Knee(
            axis=self.axis,
            others=self.others,
            load=found[place.index],
            low=found[place.low],
            high=found[place.high],
            steps=place.high - place.low,
            at_end=place.index == len(found) - 1,
            without=self.without,
        )

    @property
    def cliffs(self) -> list[Cliff]:
        """By the rule of `sweep.front`."""
        samples = [[value for engine in one.samples(THROUGHPUT) for value in engine] for one in self.points]
        found = self.loads
        return [
            Cliff(self.axis, self.others, found[one.index], found[one.index + 1], one.ratio, one.low, one.high)
            for one in falls(samples)
        ]

    def undecided(self) -> list[PointResult]:
        """The points to measure on one more engine; none where the knee is decided.

        All of the curve, so that each engine serves all loads; where a round was cut short, those that it left out.
        """
        fewest = min(len(one.engines) for one in self.points)
        return [] if self.knee.decided else [one for one in self.points if len(one.engines) == fewest]


def load_axis(space: Space) -> str | None:
    """The axis along which knees are looked for; None where no load is varied."""
    return next((axis.name for axis in space.axes if axis.name in LOADS), None)


def curves(space: Space, results: Sequence[PointResult]) -> list[Curve]:
    """The curves of throughput over load, in the order of their first points."""
    axis = load_axis(space)
    if axis is None:
        return []
    groups: dict[Point, list[PointResult]] = {}
    for one in results:
        others = Point.of({name: value for name, value in one.settings.items() if name != axis})
        groups.setdefault(others, []).append(one)
    found = []
    for others, group in groups.items():
        group.sort(key=lambda one: one.settings[axis])
        counted = tuple(one for one in group if one.sound and one.samples(THROUGHPUT))
        if len(counted) >= FEWEST_LOADS:
            without = tuple(one.settings[axis] for one in group if one not in counted)
            found.append(Curve(axis, others.values, counted, without))
    return found


def findings(study: Study, results: Mapping[Point, PointResult]) -> Findings:
    """What the results that there are say."""
    missing, best = plan.next_points(study.space, results, study.metric, METRICS[study.metric].better)
    done = list(results.values())
    fewest = min((one.requests for one in done if one.engines), default=0)
    ttft = "ttft.p99" if fewest >= _FEWEST_FOR_P99 else "ttft.p95"
    figures = tuple(_figures(one, ttft) for one in done)
    found = curves(study.space, done)
    first = Point.of({axis.name: axis.values[0] for axis in study.space.axes})
    return Findings(
        name=study.path.stem,
        engine=study.spec_of(first).name,
        ttft=ttft,
        metric=study.metric,
        figures=figures,
        front=_front(figures),
        knees=tuple(curve.knee for curve in found),
        cliffs=tuple(cliff for curve in found for cliff in curve.cliffs),
        best=best,
        near=plan.near_best(study.space, results, best, study.metric),
        missing=len(missing) if study.space.rounds == 1 else max(0, study.space.count - len(done)),
    )


def _figures(one: PointResult, ttft: str) -> Figures:
    tpot = one.value("tpot.p50")
    return Figures(one, one.value(THROUGHPUT), one.value(ttft), 1 / tpot if tpot else None)


def _front(figures: Sequence[Figures]) -> tuple[int, ...]:
    """Of throughput, TTFT and tokens/s of a user; a point without all three has no place on it."""
    rows: list[tuple[int, list[Any]]] = [
        (place, [one.throughput, -one.ttft, one.per_user])
        for place, one in enumerate(figures)
        if one.result.sound and one.throughput is not None and one.ttft is not None and one.per_user is not None
    ]
    return tuple(rows[place][0] for place in pareto([row for _, row in rows]))
