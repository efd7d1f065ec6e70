"""`@pytest.mark.sweep`: one test for each point of a space of engine arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness import flags
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep.space import GRID, ONE_AT_A_TIME, Axis, Space

MARKER = "sweep"


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make one test of each point; its parameter goes to the fixture, which `engine_arguments` reads.

    Raises:
        CollectError: in one line, for a marker that cannot be meant.
    """
    test = metafunc.definition
    marker = test.get_closest_marker(MARKER)
    if marker is None:
        return
    try:
        if flags.FIXTURE not in metafunc.fixturenames:
            raise SpecError(f"the test does not use the fixture {flags.FIXTURE}")
        if test.get_closest_marker("vllm") is None:
            raise SpecError("needs @pytest.mark.vllm(MODEL), whose engine it varies")
        points = _points(marker)
    except SpecError as error:
        raise pytest.Collector.CollectError(f"{test.nodeid}: @pytest.mark.{MARKER}: {error}") from None
    metafunc.parametrize(flags.FIXTURE, points, indirect=True, ids=[_id(point) for point in points])


def engine_arguments(item: pytest.Item) -> Mapping[str, Any]:
    """The engine arguments of a test's point; empty for a test without the marker."""
    if item.get_closest_marker(MARKER) is None:
        return {}
    point: Mapping[str, Any] = item.callspec.params[flags.FIXTURE]  # type: ignore[attr-defined]
    return point


def shown_point(item: pytest.Item, spec: EngineSpec | None) -> Mapping[str, Any]:
    """The same as they may be shown and stored; empty for a test without the marker.

    Args:
        item: the test.
        spec: its engine, with these arguments.
    """
    shown = {} if spec is None else spec.shown_args
    return {name: shown[name] for name in engine_arguments(item) if name in shown}


def _points(marker: pytest.Mark) -> list[dict[str, Any]]:
    if marker.args:
        raise SpecError("takes keywords only: engine arguments with lists of values")
    axes = dict(marker.kwargs)
    mode = axes.pop("mode", GRID)
    if mode not in (GRID, ONE_AT_A_TIME):
        raise SpecError(f"mode={mode!r} is neither {GRID!r} nor {ONE_AT_A_TIME!r}")
    if not axes:
        raise SpecError("the grid is empty: name an engine argument and its values")
    for name, values in axes.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise SpecError(f"{name}={values!r} must be a list of one value or more")
    space = Space(tuple(Axis(name, tuple(values)) for name, values in axes.items()), mode)
    try:
        points = list(space.points({}))
    except (TypeError, ValueError) as error:
        raise SpecError(f"a value cannot be handed to another process: {error}") from None
    if len(set(points)) < len(points):
        raise SpecError("an axis has a value twice")
    return [point.values for point in points]


def _id(point: Mapping[str, Any]) -> str:
    return "-".join(f"{name}={value}" for name, value in point.items())
