"""The study of `vllmperf tune serve`: its engines and loads where nobody says, and how a promise is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.engines.over_http import check_installed
from pytest_vllmperf.errors import NoGpuError, SpecError, did_you_mean
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.metrics.promises import promise
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import NOT_ENGINE_ARGS, EngineSpec
from pytest_vllmperf.records.sweep import Values
from pytest_vllmperf.sweep import loads
from pytest_vllmperf.sweep.promise import RATE, Promise
from pytest_vllmperf.sweep.space import Axis, Point, Space
from pytest_vllmperf.sweep.study import LEFT_OUT, MOST_POINTS, Study, check_axis, check_values
from pytest_vllmperf.workload import Workload

_SMALL: Final = {"max_num_batched_tokens": (512, 1024, 2048, 4096, 8192), "max_num_seqs": (16, 32, 64, 128, 256)}
_LARGE: Final = {"max_num_batched_tokens": (2048, 4096, 8192, 16384), "max_num_seqs": (64, 128, 256, 512, 1024)}
_CPU: Final = {"max_num_batched_tokens": (256, 512, 1024, 2048, 4096), "max_num_seqs": (4, 8, 16, 32, 64)}
"""vLLM refuses fewer tokens in a step than sequences."""
_LOADS_ON_GPU: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LOADS_ON_CPU: Final = (1, 2, 4, 8, 16, 32)
_LARGE_BYTES: Final = 32 * 2**30
_WAVES: Final = 4
"""Requests of one iteration over its concurrency: the ends of a closed loop, which are not full, weigh little."""
_SECONDS: Final = 10
"""That arrivals at a rate take at least."""
_FEWEST: Final = 64
_NAMES: Final = {"ttft": "ttft", "tpot": "tpot", "e2e": "e2e", "e2el": "e2e"}
"""The parts of a promise, by the words of this package and of vLLM's own benchmark."""


@dataclass(frozen=True)
class Asked:
    """What somebody asks for.

    Attributes:
        model: a path, a hub name, or a built-in model.
        arguments: engine arguments that all engines have.
        axes: values by name, in the order given; over those that are tried by default.
        promise: what requests have to keep.
        workload: settings of `Workload.synthetic`; without `requests`, as many as the load needs.
        backend: which kind of engine.
        gpu: what the GPU must be; None for any.
        measuring: iterations and warm-up of a point.
        replicates: fresh engines at most, on which leaders are measured again.
        trials: engines that are tried at most.
        allow: validity rules that are turned off.
        results: the file of results.
        many: whether more than 10,000 points are meant.
    """

    model: str
    arguments: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    promise: Promise
    workload: Mapping[str, Any]
    backend: str
    gpu: GpuRequirement | None
    measuring: MeasureSettings
    replicates: int
    trials: int
    allow: tuple[str, ...]
    results: Path
    many: bool = False


@dataclass(frozen=True)
class ServeStudy(Study):
    """Points of a search; the last axis is the load.

    Attributes:
        trials: engines that are tried at most, beside the default one.
    """

    trials: int = 20

    @property
    def most_points(self) -> int:
        """Those of all engines that are tried, the default one among them."""
        engines = min(self.space.count // len(self.load.values), self.trials)
        return (engines + 1) * len(self.load.values)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Of the engine, without the load."""
        return self.space.axes[:-1]

    @property
    def load(self) -> Axis:
        """Concurrency or rate, ascending."""
        return self.space.axes[-1]

    @property
    def default(self) -> Values:
        """The engine with its own default arguments: no axis is set."""
        return {axis.name: LEFT_OUT for axis in self.axes}

    def point(self, engine: Values, load: Any) -> Point:
        """An engine at a load."""
        return Point.of({**engine, self.load.name: load})

    def workload_of(self, point: Point) -> Workload:
        """The workload of a point; where nobody said how many requests, as many as its load needs."""
        settings = dict(self.workload)
        if "requests" not in settings:
            load = point.values[self.load.name]
            settings["requests"] = max(_FEWEST, ceil(load * (_WAVES if self.load.name == "concurrency" else _SECONDS)))
        return loads.workload({**settings, self.load.name: point.values[self.load.name]})


def parse_promise(text: str, share: float, output_tokens: Any) -> Promise:
    """A promise as a command line writes it, such as `ttft=.3,tpot=.03`.

    Args:
        text: parts by name, in seconds.
        share: of requests that have to keep it.
        output_tokens: of the workload.

    Raises:
        SpecError: for a part that does not exist or is no time, or one that the workload keeps whatever happens.
    """
    parts: dict[str, float] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = one.partition("=")
        known = _NAMES.get(name.strip())
        if not equals:
            raise SpecError(f"--slo: {one!r} is not NAME=SECONDS, such as ttft=.3,tpot=.03")
        if known is None:
            raise SpecError(f"--slo: an SLO has no part {name!r}; {', '.join(_NAMES)}{did_you_mean(name, _NAMES)}")
        if known in parts:
            raise SpecError(f"--slo: {known} is there twice")
        try:
            parts[known] = float(value)
        except ValueError:
            raise SpecError(f"--slo: {one!r}: this is no number of seconds") from None
    try:
        slo = promise(parts.get("ttft"), parts.get("tpot"), parts.get("e2e"), share)
    except SpecError as error:
        raise SpecError(f"--slo, --goodput: {error}") from None
    if slo.tpot is not None and output_tokens == 1:
        raise SpecError("--slo tpot=: requests with one output token have no time between tokens; more --output-tokens")
    return Promise(slo, share)


def study(asked: Asked, backends: Backends = BACKENDS) -> ServeStudy:
    """The points to search among, checked as far as that is possible without an engine.

    Raises:
        SpecError: for an argument or axis that nobody knows or that cannot be meant, an empty axis, too many points, or
            too few requests to tell whether the promise is kept.
        WorkloadError: for a workload that cannot be sent.
        EngineStartError: where the libraries are missing that drive a server.
    """
    made = _study(asked, _axes(asked, backends))
    names = [axis.name for axis in made.space.axes]
    for axis in made.space.axes:
        check_axis(axis, names)
    check_values(made, backends)
    _check_requests(made, asked)
    _check_count(made, asked)
    if backends.of(made.spec_of(made.point(made.default, made.load.values[0]))).over_http:
        check_installed()  # else every point would say so
    return made


def _study(asked: Asked, axes: tuple[Axis, ...]) -> ServeStudy:
    return ServeStudy(
        path=asked.results,
        space=Space(axes),
        engine={"model": asked.model, "backend": asked.backend, **asked.arguments},
        workload=asked.workload,
        metric=RATE,
        measuring=replace(asked.measuring, device_pass=0),
        replicates=asked.replicates,
        allow=("preemptions", *(rule for rule in asked.allow if rule != "preemptions")),
        results=asked.results,
        slo=asked.promise.slo,
        gpu=asked.gpu,
        trials=asked.trials,
    )


def _axes(asked: Asked, backends: Backends) -> tuple[Axis, ...]:
    """Axes of the engine, then the load."""
    for name in asked.axes:
        _check_name(name, asked)
    given = {name: tuple(values) for name, values in asked.axes.items()}
    backend = backends.of(EngineSpec.create(asked.model, backend=asked.backend))
    card = _card_bytes(asked) if backend.uses_gpu else None
    grid: Mapping[str, Sequence[Any]] = _CPU if card is None else _LARGE if card >= _LARGE_BYTES else _SMALL
    usual = {name: values for name, values in grid.items() if backend.vllm_arguments and name not in asked.arguments}
    engine = {**usual, **{name: values for name, values in given.items() if name not in loads.LOADS}}
    load = next((name for name in loads.LOADS if name in given), "concurrency")
    most = asked.workload.get("requests", max(_LOADS_ON_GPU))
    usual_loads = _LOADS_ON_CPU if card is None else _LOADS_ON_GPU
    values = given.get(load, tuple(one for one in usual_loads if one <= most))
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) and one > 0 for one in values):
        raise SpecError(f"--axis {load}: loads are numbers above 0")
    return (*(Axis(name, own) for name, own in engine.items()), Axis(load, tuple(sorted(values))))


def _check_name(name: str, asked: Asked) -> None:
    if name in loads.AXES and name not in loads.LOADS:
        raise SpecError(f"--axis {name}: all points of a search have one workload; axes of it are {_or(loads.LOADS)}")
    if all(load in asked.axes for load in loads.LOADS):
        raise SpecError("--axis: concurrency and rate exclude each other; leave one out")
    if name in NOT_ENGINE_ARGS:
        raise SpecError(f"--axis {name}: this cannot be varied")
    if name in asked.arguments:
        raise SpecError(f"--axis {name}: --set fixes it already; leave one out")


def _card_bytes(asked: Asked) -> int | None:
    """Memory of the GPU; None without one."""
    requirement = asked.gpu or GpuRequirement()
    try:
        sizes = [device.total_bytes for device in gpu.devices() if requirement.fits(device)]
    except NoGpuError:  # a start will say so, where one is needed
        return None
    return min(sizes, default=None)


def _check_requests(made: ServeStudy, asked: Asked) -> None:
    """A share of 99 % cannot be told from fewer than 100 requests: there, one late request would decide it."""
    share = asked.promise.share
    wanted = ceil(1 / (1 - share) - 1e-9) if share < 1 else 1
    requests = min(made.workload_of(made.point(made.default, load)).count for load in made.load.values)
    if requests * asked.measuring.iterations < wanted:
        raise SpecError(
            f"--goodput {share:g} cannot be told from {requests * asked.measuring.iterations} requests a point, "
            f"{wanted:,} are needed: more --requests, or more --iterations"
        )


def _check_count(made: ServeStudy, asked: Asked) -> None:
    points = made.most_points
    if points > MOST_POINTS and not asked.many:
        raise SpecError(f"up to {points:,} points, more than {MOST_POINTS:,}; add --yes if that is meant")


def _or(names: Sequence[str]) -> str:
    return " or ".join(names)
