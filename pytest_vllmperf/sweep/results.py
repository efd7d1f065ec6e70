"""The results file of a study: each finished point with its samples, replaced whole after each point."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.storage import resumable
from pytest_vllmperf.storage.regular import MIB
from pytest_vllmperf.storage.resumable import ELSEWHERE, only_writer
from pytest_vllmperf.storage.versioned import LIMIT, Format, dumps
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import Study

SCHEMA: Literal["pytest-vllmperf/sweep"] = "pytest-vllmperf/sweep"
VERSION: Literal[1] = 1


class ResultsFile(BaseModel):
    """A results file.

    Attributes:
        schema_name: what kind of file it is.
        version: of the schema.
        key: of the study.
        study: its settings, for a person.
        points: those that are finished, in the order in which they were measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/sweep"] = Field(default=SCHEMA, alias="schema")
    version: Literal[1] = VERSION
    key: str
    study: dict[str, Any]
    points: tuple[PointResult, ...] = ()


_OTHER_VERSIONS = ("backend", "python")
"""Axes whose values may have versions of their own."""
_NO_POINTS = '\n "points": [],'
"""How a file without points says so: with one blank, as nothing else at this depth is called so."""

FORMAT = Format(
    noun="results file of a sweep",
    schema=SCHEMA,
    version=VERSION,
    content=ResultsFile,
    foreign=ELSEWHERE,
    older=f"this release cannot go on with it; {ELSEWHERE}",
    damaged=f"restore it, or {ELSEWHERE}",
    too_large="measure fewer points, or fewer iterations",
)


class Results:
    """The finished points of a study, on disk after each change.

    Args:
        study: whose.

    Raises:
        BaselineError: for a file that cannot be read, is of another schema or version, or holds another study.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self.path = study.results
        self._points = {Point.of(one.settings): one for one in _read(study)}
        self._texts = {point: _laid_out(one) for point, one in self._points.items()}

    @property
    def points(self) -> Mapping[Point, PointResult]:
        """The finished points, in the order in which they were measured."""
        return self._points

    def forget_failed(self) -> None:
        """Take out the points that failed or are void, so that they are measured again."""
        self._points = {point: one for point, one in self._points.items() if one.sound}

    def put(self, point: Point, result: PointResult) -> None:
        """Add a point, or replace it, and write the file.

        Raises:
            BaselineError: when it was measured on other hardware or with other versions than those before it, or the
                file cannot be written, or would become too large with all points of the study; it then holds all points
                before this one.
        """
        self._check_same(result)
        self._points[point] = result
        self._texts[point] = _laid_out(result)
        text = self._text()
        if max(len(text), len(self._texts[point]) * self._study.most_points) > LIMIT:
            raise BaselineError(
                f"{self.path}: with {self._study.most_points:,} points like this one it would become larger than the "
                f"{LIMIT // MIB} MiB that are read; {FORMAT.too_large}"
            )
        self._write(text)

    def _check_same(self, new: PointResult) -> None:
        """Refuse to mix figures of two kinds of hardware, or of two versions of an engine."""
        kind = _kind(new.profile)
        for one in self._points.values():
            if kind and one.profile and _kind(one.profile) != kind:
                raise self._mixed(f"on {one.profile}", new.profile)
            if any(one.settings.get(axis) != new.settings.get(axis) for axis in _OTHER_VERSIONS):
                continue
            for name in sorted(one.versions.keys() & new.versions.keys()):
                if one.versions[name] != new.versions[name]:
                    raise self._mixed(f"with {name} {one.versions[name]}", f"{name} {new.versions[name]}")

    def _mixed(self, before: str, now: str) -> BaselineError:
        return BaselineError(f"{self.path}: its points were measured {before}, and this is {now}; {ELSEWHERE}")

    def arrange(self, order: Sequence[Point]) -> None:
        """Put the points into an order, and write the file where that changes it.

        Args:
            order: all points that there are.

        Raises:
            BaselineError: when the file cannot be written.
        """
        if list(self._points) != list(order):
            self._points = {point: self._points[point] for point in order}
            self._write(self._text())

    def _write(self, text: str) -> None:
        resumable.write(self.path, text, "points")

    def _text(self) -> str:
        """All of the file, as `FORMAT.encoded` lays it out; that takes a second for some hundred points.

        So each point is laid out once, and put into a file without points.
        """
        empty = FORMAT.encoded(self.path, ResultsFile(key=self._study.key, study=self._study.settings))
        points = ",\n".join(self._texts[point] for point in self._points)
        return empty.replace(_NO_POINTS, f'\n "points": [\n{points}\n ],', 1)


def _kind(profile: str) -> str:
    """Of the hardware, without the number of GPUs: `tensor_parallel_size` may be an axis."""
    return re.sub(r"^\d+-x-", "", profile)


def _laid_out(result: PointResult) -> str:
    """A point as it stands in the file, two levels deep."""
    return "\n".join(f"  {line}" for line in dumps(result).rstrip("\n").split("\n"))


@contextmanager
def opened(study: Study) -> Iterator[Results]:
    """The results of a study, for one process at a time.

    Raises:
        BaselineError: where another sweep writes the file, its folder cannot be written, or as for `Results`.
    """
    path = study.results
    with only_writer(path, "sweep"):
        yield Results(study)


def _read(study: Study) -> tuple[PointResult, ...]:
    path = study.results
    content = FORMAT.read(path)
    if content is None:
        return ()
    if content.key != study.key:
        changed = ", ".join(name for name, value in study.settings.items() if content.study.get(name) != value)
        raise BaselineError(f"{path}: results of another study{f' ({changed} differ)' if changed else ''}; {ELSEWHERE}")
    return tuple(_checked(study, one) for one in content.points)


def _checked(study: Study, one: PointResult) -> PointResult:
    """A point with its settings in the order of the axes; in the file names are sorted."""
    path, names = study.results, [axis.name for axis in study.space.axes]
    name = ", ".join(f"{axis}={value}" for axis, value in one.settings.items())
    if set(names) != set(one.settings):
        raise FORMAT.unfit(path, f"the point {name} has other axes than the study")
    for number, engine in enumerate(one.engines, start=1):
        FORMAT.check_samples(path, name, f"engine {number}", engine)
    return one.model_copy(update={"settings": {axis: one.settings[axis] for axis in names}})
