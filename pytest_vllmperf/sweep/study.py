"""A study as its TOML file says: the engine, the workload, the axes, and how often each point is measured."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_vllmperf.engines.arguments import check_arguments
from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.errors import SpecError, VllmPerfError, WorkloadError, did_you_mean
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab import driving
from pytest_vllmperf.metrics.table import METRICS, unknown
from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.masking import is_secret_name, masked
from pytest_vllmperf.records.parsing import count
from pytest_vllmperf.records.problems import RULES
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.settings import AUTO
from pytest_vllmperf.records.spec import NOT_ENGINE_ARGS, EngineSpec
from pytest_vllmperf.sweep import loads
from pytest_vllmperf.sweep.space import GRID, ONE_AT_A_TIME, Axis, Point, Space
from pytest_vllmperf.workload import Workload

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_POINTS: Final = 10_000
"""More are only measured by somebody who has said so."""
LEFT_OUT: Final = "(default)"
"""A value of an axis that leaves the argument out, as TOML has no word for nothing."""


class _Axis(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    values: list[Any]


class _File(BaseModel):
    """What a TOML file may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    engine: dict[str, Any]
    workload: dict[str, Any]
    axis: list[_Axis] = Field(default_factory=list)
    mode: Literal["grid", "one-at-a-time"] | None = None
    stages: list[str] = Field(default_factory=list)
    metric: str = "output_throughput"
    iterations: int = Field(default=10, ge=1)
    warmup: Any = AUTO
    replicates: int = Field(default=2, ge=0, le=20)
    allow: list[str] = Field(default_factory=list)
    results: str | None = None


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        path: its TOML file.
        space: its points.
        engine: arguments of `EngineSpec.create` that all points have.
        workload: settings of the workload that all points have.
        metric: that decides which value of a stage is the best.
        measuring: iterations and warm-up of a point.
        replicates: fresh engines at most on which points are measured again while a knee is not decided.
        allow: validity rules that are turned off.
        results: the file of its results.
        slo: a promise whose goodput is measured at each point; None for none.
        gpu: what the GPU must be; None for any.
    """

    path: Path
    space: Space
    engine: Mapping[str, Any]
    workload: Mapping[str, Any]
    metric: str
    measuring: MeasureSettings
    replicates: int
    allow: tuple[str, ...]
    results: Path
    slo: Slo | None = None
    gpu: GpuRequirement | None = None

    @property
    def most_points(self) -> int:
        """How many points its results may have."""
        return self.space.count

    def spec_of(self, point: Point) -> EngineSpec:
        """The engine of a point."""
        own = {name: value for name, value in point.values.items() if name not in loads.AXES}
        arguments = {name: value for name, value in {**self.engine, **own}.items() if value != LEFT_OUT}
        return EngineSpec.create(**arguments)

    def workload_of(self, point: Point) -> Workload:
        """The workload of a point.

        Raises:
            WorkloadError: for settings that cannot be meant together.
        """
        own = {name: value for name, value in point.values.items() if name in loads.AXES}
        return loads.workload({**self.workload, **own})

    @property
    def settings(self) -> dict[str, Any]:
        """What makes it this study and no other, without secrets; the path of the results is not part of it."""
        folder = home()
        return {
            "engine": {name: without_home(masked(name, value), folder) for name, value in self.engine.items()},
            "workload": dict(self.workload),
            "axes": [{"name": axis.name, "values": list(axis.values)} for axis in self.space.axes],
            "mode": self.space.mode,
            "stages": list(self.space.stages),
            "metric": self.metric,
            "iterations": self.measuring.iterations,
            "warmup": self.measuring.warmup,
            "allow": list(self.allow),
            **({} if self.slo is None else {"promise": self.slo.key}),
        }

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits of its settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read(path: Path, results: Path | None = None, *, many: bool = False, backends: Backends = BACKENDS) -> Study:
    """The study of a TOML file, checked as far as that is possible without an engine.

    Args:
        path: the file.
        results: the file of its results; None for the one that it names, else one beside it.
        many: whether more than 10,000 points are meant.
        backends: the kinds of engines that there are.

    Raises:
        SpecError: naming the file and what is wrong: not there, no TOML, an entry that does not fit, an axis that
            nobody knows, an empty grid, or too many points.
        WorkloadError: for a workload that cannot be sent.
    """
    try:
        study = _study(path, _parsed(path), results)
        _check_count(study.space, many=many)
        check_values(study, backends)
    except VllmPerfError as error:
        raise type(error)(f"{path}: {error}") from None
    return study


def _parsed(path: Path) -> _File:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"not TOML: {error}") from None
    try:
        return _File.model_validate(found)
    except ValidationError as error:
        raise SpecError("; ".join(_problem(dict(one)) for one in error.errors(include_url=False))) from None


def _problem(error: Mapping[str, Any]) -> str:
    """One entry that does not fit, in a line."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _File.model_fields if len(error["loc"]) == 1 else _Axis.model_fields
        return f"there is no entry {place}{did_you_mean(str(error['loc'][-1]), known)}"
    if error["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _study(path: Path, told: _File, results: Path | None) -> Study:
    if told.metric not in METRICS:
        raise SpecError(f"metric: {unknown(told.metric)}")
    for rule in told.allow:
        if rule not in RULES:
            raise SpecError(f"allow: there is no rule {rule!r}{did_you_mean(rule, RULES)}")
    warmup = None if told.warmup == AUTO else count(0)("warmup", told.warmup)
    for name in ("cls", "self"):
        if name in told.engine or any(axis.name == name for axis in told.axis):
            raise SpecError(f"there is no engine argument {name!r}")
    if "model" not in told.engine:
        raise SpecError("engine.model is missing")
    beside = path.parent / told.results if told.results else path.with_suffix(".results.json")
    return Study(
        path=path,
        space=_space(told),
        engine=told.engine,
        workload=told.workload,
        metric=told.metric,
        measuring=MeasureSettings(warmup, told.iterations, device_pass=0),
        replicates=told.replicates,
        allow=("preemptions", *(rule for rule in told.allow if rule != "preemptions")),
        results=results or beside,
    )


def _space(told: _File) -> Space:
    if not told.axis:
        raise SpecError("the grid is empty: there is no [[axis]]")
    names = [axis.name for axis in told.axis]
    axes = tuple(Axis(axis.name, tuple(axis.values)) for axis in told.axis)
    for axis in axes:
        check_axis(axis, names)
    for name in told.stages:
        if name not in names:
            raise SpecError(f"stages: {name!r} is no [[axis]]{did_you_mean(name, names)}")
    if len(set(told.stages)) < len(told.stages):
        raise SpecError("stages: an axis is there twice")
    if told.stages and told.mode == ONE_AT_A_TIME:
        raise SpecError(f"stages and mode={ONE_AT_A_TIME!r} exclude each other: stages fix the best value")
    return Space(axes, told.mode or GRID, tuple(told.stages))


def check_axis(axis: Axis, names: Sequence[str]) -> None:
    """Refuse an axis that cannot be meant, whatever engine it is of.

    Args:
        axis: that is checked.
        names: of all axes.

    Raises:
        SpecError: for one that is there twice, has no values or the same twice, or may not be varied.
    """
    if names.count(axis.name) > 1:
        raise SpecError(f"axis {axis.name!r} is there twice; put all values into one")
    if axis.name in NOT_ENGINE_ARGS and axis.name not in ("model", "backend", "python"):
        raise SpecError(f"axis {axis.name!r}: this cannot be varied")
    if is_secret_name(axis.name):
        raise SpecError(f"axis {axis.name!r}: a secret cannot be varied, as its values would be stored")
    if not axis.values:
        raise SpecError(f"the grid is empty: axis {axis.name!r} has no values")
    try:
        written = [json.dumps(value, sort_keys=True, allow_nan=False) for value in axis.values]
    except (TypeError, ValueError):
        raise SpecError(f"axis {axis.name!r}: a value is a date, or no finite number") from None
    for value in written:
        if written.count(value) > 1:
            raise SpecError(f"axis {axis.name!r}: the value {value} is there twice")


def _check_count(space: Space, *, many: bool) -> None:
    if space.count > MOST_POINTS and not many:
        raise SpecError(f"it has {space.count:,} points, more than {MOST_POINTS:,}; add --yes if that is meant")


def check_values(study: Study, backends: Backends = BACKENDS) -> None:
    """Try each value of each axis whose values are known here, and the name of each other; all others at their first.

    Values of engine arguments are vLLM's to refuse.

    Raises:
        SpecError: for an axis or an argument that nobody knows.
        WorkloadError: for a workload that cannot be sent.
    """
    first = {axis.name: axis.values[0] for axis in study.space.axes}
    loads.check_axes(tuple(first), study.workload)
    known = (*loads.AXES, *NOT_ENGINE_ARGS)
    for axis in study.space.axes:
        for value in axis.values if axis.name in known else axis.values[:1]:
            _check_point(study, Point.of({**first, axis.name: value}), backends)


def _check_point(study: Study, point: Point, backends: Backends) -> None:
    spec = study.spec_of(point)
    try:
        backend = backends.of(backends.checked(spec))
        if backend.vllm_arguments:
            check_arguments(spec, "vllm")
    except SpecError as error:
        raise SpecError(f"{error}{_load_meant(study.space)}") from None
    workload = study.workload_of(point)
    driving.check_can_be_sent(workload, spec, serves=backend.over_http, vllm_requests=backend.vllm_requests)
    if workload.concurrency is not None and workload.concurrency > workload.count:
        raise WorkloadError(
            f"concurrency={workload.concurrency} is more than requests={workload.count}: so many are never in flight; "
            "send more requests"
        )


def _load_meant(space: Space) -> str:
    """Which axis of the workload somebody meant who wrote an engine argument that nobody knows."""
    for axis in space.axes:
        if axis.name not in loads.AXES and (near := did_you_mean(axis.name, loads.AXES)):
            return f"; axes of the workload are {', '.join(loads.AXES)}{near}"
    return ""
