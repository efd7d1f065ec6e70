"""Markers -> what a test's engine, GPU, settings and scorecard are. Bad input is a `SpecError` naming the test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.options import CheckSettings, call_settings
from pytest_vllmperf.spec import EngineSpec

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class CardEntry:
    """What `@pytest.mark.scorecard` says.

    Attributes:
        name: the card's.
        baseline: the configuration that the others are compared with.
        configuration: the row's name.
    """

    name: str
    baseline: str
    configuration: str


def engine_spec(item: pytest.Item) -> EngineSpec | None:
    """What the test's `vllm` marker names; None without one.

    Raises:
        SpecError: naming the test and what is wrong.
    """
    marker = item.get_closest_marker("vllm")
    if marker is None:
        return None
    with _naming(item, "vllm"):
        if len(marker.args) != 1:
            raise SpecError(f"takes one model, got {len(marker.args)} positional arguments")
        return EngineSpec.create(marker.args[0], **marker.kwargs)


def gpu_requirement(item: pytest.Item) -> GpuRequirement | None:
    """What the test's `gpu` marker asks for; None without one.

    Raises:
        SpecError: naming the test and what is wrong.
    """
    marker = item.get_closest_marker("gpu")
    if marker is None:
        return None
    with _naming(item, "gpu"):
        if len(marker.args) > 1:
            raise SpecError(f"takes one name, got {len(marker.args)} positional arguments")
        _check_keywords(marker.kwargs, GpuRequirement.create)
        return GpuRequirement.create(*marker.args, **marker.kwargs)


def check_settings(item: pytest.Item) -> CheckSettings:
    """What the test's `vllmperf` marker says.

    Raises:
        SpecError: naming the test and what is wrong.
    """
    marker = item.get_closest_marker("vllmperf")
    if marker is None:
        return CheckSettings()
    with _naming(item, "vllmperf"):
        if marker.args:
            raise SpecError("takes keywords only")
        _check_keywords(marker.kwargs, call_settings)
        return call_settings(**marker.kwargs)


def card_entry(item: pytest.Item) -> CardEntry | None:
    """What the test's `scorecard` marker says; None without one.

    Raises:
        SpecError: naming the test and what is wrong.
    """
    marker = item.get_closest_marker("scorecard")
    if marker is None:
        return None
    with _naming(item, "scorecard"):
        if len(marker.args) != 1:
            raise SpecError(f"takes one name, got {len(marker.args)} positional arguments")
        _check_keywords(marker.kwargs, CardEntry, "name")
        if "baseline" not in marker.kwargs:
            raise SpecError("needs baseline=, the configuration that the others are compared with")
        return _card_entry(item, marker.args[0], **marker.kwargs)


def _card_entry(item: pytest.Item, name: object, *, baseline: object, configuration: object = None) -> CardEntry:
    parameters = getattr(getattr(item, "callspec", None), "id", None) or item.name
    row = parameters if configuration is None else configuration
    words = {"name": name, "baseline": baseline, "configuration": row}
    for what, word in words.items():
        if not isinstance(word, str) or not word.strip() or "\n" in word:
            raise SpecError(f"{what}={word!r} must be a word or a few")
    return CardEntry(**words)  # type: ignore[arg-type]


def _check_keywords(given: Mapping[str, object], function: Callable[..., object], *positional: str) -> None:
    left_out = ("cls", "self", *positional)
    known = [name for name in inspect.signature(function).parameters if name not in left_out]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SpecError(f"unknown keyword {unknown[0]!r}; known are {', '.join(known)}")


class _naming:  # noqa: N801 - used as a statement
    """Puts the test and the marker in front of what went wrong inside."""

    def __init__(self, item: pytest.Item, marker: str) -> None:
        self._where = f"{item.nodeid}: @pytest.mark.{marker}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpecError):
            raise SpecError(f"{self._where}: {error}") from None
        if isinstance(error, TypeError):  # a keyword given twice, or one that the constructor reserves
            raise SpecError(f"{self._where}: {error}") from None
