"""Rows and lines of a scorecard."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from pytest_vllmperf import stats
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.samples import EngineSamples


class Row(BaseModel):
    """One configuration, as its test measured it.

    Attributes:
        card: the scorecard that it belongs to.
        configuration: its name there.
        baseline: the configuration that the others are compared with.
        engine: the engine, for a person.
        profile: the kind of hardware.
        workload: the workload as stored.
        engines: what was measured on each engine start.
        outputs: greedy continuations of the first requests, as token ids; the card compares them.
        problems: why its measurement is void; nothing is made of a void one.
        takes_the_rest: whether the engine fills a share of the device with its KV cache, whatever the weights take.
        gpus: how many GPUs an engine ran on.
        gpu_hour_price: of one of them, in any currency; None where nobody said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    card: str
    configuration: str
    baseline: str
    engine: str
    profile: str
    workload: dict[str, object]
    engines: tuple[EngineSamples, ...]
    outputs: tuple[tuple[int, ...], ...] = ()
    problems: tuple[Problem, ...] = ()
    takes_the_rest: bool = False
    gpus: int = 0
    gpu_hour_price: float | None = None

    def value(self, metric: str) -> float | None:
        """Median over engines of the median over iterations, in the unit of the table; None when not measured."""
        measured = [values for engine in self.engines if (values := engine.values(metric))]
        return stats.center(measured) if measured else None


@dataclass(frozen=True)
class Line:
    """One row beside the baseline's.

    Attributes:
        row: what was measured.
        speedup: in output throughput over the baseline, with its 99 % interval; None for the baseline itself, without
            one, or where nothing was measured.
        saved: share of the baseline's weight bytes that it does without; None where either is unknown.
        agreement: mean share of the baseline's greedy tokens before the first that differs; None where unknown.
        cost: of a million output tokens, in the currency of the row's price; None without a price.
    """

    row: Row
    speedup: Ratio | None
    saved: float | None
    agreement: float | None
    cost: float | None = None


@dataclass(frozen=True)
class Scorecard:
    """All rows of one card on one kind of hardware.

    Attributes:
        name: the card's.
        profile: the kind of hardware.
        baseline: the configuration that the others are compared with.
        lines: in the order in which they were measured.
        notes: what has to be said about them, in words.
    """

    name: str
    profile: str
    baseline: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
