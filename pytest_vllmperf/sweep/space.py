"""A space of points: axes, and which of their values are combined. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # collecting tests of a run without measurements imports this module
    from pytest_vllmperf.records.sweep import Values

GRID: Final = "grid"
ONE_AT_A_TIME: Final = "one-at-a-time"


@dataclass(frozen=True)
class Point:
    """One place of a space; hashable, and equal to another with the same values.

    Attributes:
        settings: the name of each axis with its value as canonical JSON, in the order of the axes.
    """

    settings: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Point:
        """The point with these values; 2.0 and 2 are one value, as a results file makes no difference."""
        return cls(tuple((name, json.dumps(_plain(value), sort_keys=True)) for name, value in values.items()))

    @property
    def values(self) -> Values:
        """A value for each axis; a fresh dictionary at every call."""
        return {name: json.loads(value) for name, value in self.settings}

    @property
    def words(self) -> str:
        """The point in one line, for a person."""
        return " ".join(f"{name}={value}" for name, value in self.values.items())


@dataclass(frozen=True)
class Axis:
    """One parameter and its values.

    Attributes:
        name: an engine argument by vLLM's name, or a setting of the workload.
        values: at least one, all different.
    """

    name: str
    values: Sequence[Any]


@dataclass(frozen=True)
class Space:
    """Axes, and how they are combined.

    Attributes:
        axes: at least one.
        mode: `grid` for all combinations, `one-at-a-time` for each axis alone with all others at their first value.
        stages: axes that are searched one after another: the best value of one is fixed for the next. All other axes
            are combined with each value.
    """

    axes: tuple[Axis, ...]
    mode: str = GRID
    stages: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many different points are measured in all."""
        sizes = {axis.name: len(axis.values) for axis in self.axes}
        if self.mode == ONE_AT_A_TIME:
            return 1 + sum(size - 1 for size in sizes.values())
        others = prod(size for name, size in sizes.items() if name not in self.stages)
        return others * (1 + sum(sizes[name] - 1 for name in self.stages))

    @property
    def rounds(self) -> int:
        """How many lists of points there are, each of which follows from the results of those before."""
        return len(self.stages) or 1

    def points(self, best: Mapping[str, Any]) -> Iterator[Point]:
        """The points of the next round.

        Args:
            best: the values that are fixed already, of the first stages.
        """
        if self.mode == ONE_AT_A_TIME:
            yield from self._one_at_a_time()
            return
        varied = self.stages[len(best)] if self.stages else None
        choices = [self._choices(axis, best, varied) for axis in self.axes]
        for combination in product(*choices):
            yield Point.of(dict(zip((axis.name for axis in self.axes), combination, strict=True)))

    def _choices(self, axis: Axis, best: Mapping[str, Any], varied: str | None) -> Sequence[Any]:
        if axis.name in best:
            return (best[axis.name],)
        return axis.values[:1] if axis.name in self.stages and axis.name != varied else axis.values

    def _one_at_a_time(self) -> Iterator[Point]:
        first = {axis.name: axis.values[0] for axis in self.axes}
        yield Point.of(first)
        for axis in self.axes:
            for value in axis.values[1:]:
                yield Point.of({**first, axis.name: value})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
