"""A measurer whose engines have a planted optimum and noise, for tests of the search; no engine is started."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any

from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep import serving
from pytest_vllmperf.sweep.promise import Promise
from pytest_vllmperf.sweep.serving import ServeStudy
from pytest_vllmperf.sweep.space import Point

TOKENS = (256, 512, 1024, 2048, 4096)
SEQS = (4, 8, 16, 32, 64)
LOADS = (1, 2, 4, 8, 16, 32, 64)
PROMISE = Promise(Slo(ttft=0.3, tpot=0.03), 0.99)
DEFAULT = (1024, 64)
"""What `(default)` stands for."""


@dataclass(frozen=True)
class Shape:
    """Goodput over the grid: one peak over places of both arguments; the load that keeps the promise falls with both.

    Attributes:
        tokens: place of the peak.
        seqs: the same.
        width: of the peak, in places.
        most: place of the largest load that keeps the promise, at the peak.
    """

    tokens: int
    seqs: int
    width: float
    most: int

    def goodput(self, values: Mapping[str, Any]) -> tuple[float, float]:
        """Requests/s that keep the promise, and the share of requests that do, without noise."""
        tokens, seqs = self.places(values)
        load = LOADS.index(values["concurrency"])
        off = ((tokens - self.tokens) ** 2 + (seqs - self.seqs) ** 2) / self.width**2
        most = self.most - (1 if off > 2 else 0)
        rate = 40 * exp(-off / 2) * LOADS[load] / (LOADS[load] + 4)
        share = 1.0 if load <= most else 0.9 - 0.1 * (load - most)
        return rate * share, share

    def places(self, values: Mapping[str, Any]) -> tuple[int, int]:
        tokens, seqs = (
            default if own == "(default)" else own
            for own, default in zip((values["max_num_batched_tokens"], values["max_num_seqs"]), DEFAULT, strict=True)
        )
        return TOKENS.index(tokens), SEQS.index(seqs)


@dataclass
class Planted:
    """Measures points by a shape. An engine differs from others of its kind, and so do its iterations.

    Attributes:
        shape: what is true.
        seed: of all noise.
        engine_sd: relative standard deviation between engines.
        failing: whether a point fails at all.
        failing_again: whether a point fails on a replicate.
        calls: what was measured, in its order; with `again` for replicates.
    """

    shape: Shape
    seed: int = 0
    engine_sd: float = 0.02
    failing: Callable[[Mapping[str, Any]], str] = lambda values: ""
    failing_again: Callable[[Mapping[str, Any]], bool] = lambda values: False
    calls: list[tuple[Point, bool]] = field(default_factory=list)
    count: dict[Point, int] = field(default_factory=dict)

    def spec_key(self, point: Point) -> str:
        return str({name: value for name, value in point.values.items() if name != "concurrency"})

    def measured(self, point: Point) -> PointResult:
        self.calls.append((point, False))
        if reason := self.failing(point.values):
            return PointResult(settings=point.values, reason=reason, detail="scripted")
        return PointResult(settings=point.values, profile="planted", engines=(self._engine(point, 0),), requests=64)

    def once_more(self, point: Point, fresh: set[str]) -> tuple[EngineSamples, ...]:
        self.calls.append((point, True))
        number = self.count[point] = self.count.get(point, 0) + 1
        return () if self.failing_again(point.values) else (self._engine(point, number),)

    def _engine(self, point: Point, number: int) -> EngineSamples:
        """The noise of an engine follows from its point and number: a search that goes on meets the same."""
        dice = random.Random(f"{self.seed} {point.settings} {number}")
        rate, share = self.shape.goodput(point.values)
        engine = exp(dice.gauss(0, self.engine_sd))
        rates = [rate * engine * exp(dice.gauss(0, self.engine_sd / 2)) for _ in range(3)]
        samples = {"goodput_rate": rates, "goodput": [share] * 3, "ttft.p50": [1 / one for one in rates]}
        return EngineSamples(discarded=1, iterations=3, samples=samples)


def study(folder: Path, replicates: int = 5, **axes: Any) -> ServeStudy:
    """The grid of 25 engines and seven loads."""
    made = {"max_num_batched_tokens": TOKENS, "max_num_seqs": SEQS, "concurrency": LOADS}
    return serving.study(
        serving.Asked(
            model="m",
            arguments={},
            axes={**made, **axes},
            promise=PROMISE,
            workload={"input_tokens": 8, "output_tokens": 4},
            backend="simulated",
            gpu=None,
            measuring=MeasureSettings(0, 3),
            replicates=replicates,
            trials=100,
            allow=(),
            results=folder / "results.json",
        )
    )
