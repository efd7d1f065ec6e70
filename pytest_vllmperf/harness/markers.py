"""Markers -> what a test's engine, GPU, settings and scorecard are. Bad input is a `SpecError` naming the test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.errors import SpecError, did_you_mean
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness import sweeping
from pytest_vllmperf.harness.options import call_settings
from pytest_vllmperf.metrics.gates import gate_words
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.settings import CheckSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.verdict.words import may_be_custom

if TYPE_CHECKING:
    import pytest

Built = TypeVar("Built")


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
    """What the test's `vllm` marker names, at the point of its `sweep` marker; None without a `vllm` marker.

    Raises:
        SpecError: naming the test and what is wrong.
    """

    def build(marker: pytest.Mark) -> EngineSpec:
        if len(marker.args) != 1:
            raise SpecError(f"takes one model, got {len(marker.args)} positional arguments")
        arguments = {**marker.kwargs, **sweeping.engine_arguments(item)}
        return BACKENDS.checked(EngineSpec.create(marker.args[0], **arguments))

    return _read(item, "vllm", build)


def gpu_requirement(item: pytest.Item) -> GpuRequirement | None:
    """What the test's `gpu` marker asks for; None without one.

    Raises:
        SpecError: naming the test and what is wrong.
    """

    def build(marker: pytest.Mark) -> GpuRequirement:
        if len(marker.args) > 1:
            raise SpecError(f"takes one name, got {len(marker.args)} positional arguments")
        _check_keywords(marker.kwargs, GpuRequirement.create)
        return GpuRequirement.create(*marker.args, **marker.kwargs)

    return _read(item, "gpu", build)


def check_settings(item: pytest.Item) -> CheckSettings:
    """What the test's `vllmperf` marker says.

    Raises:
        SpecError: naming the test and what is wrong.
    """

    def build(marker: pytest.Mark) -> CheckSettings:
        if marker.args:
            raise SpecError("takes keywords only")
        return _without_typos(call_settings(**marker.kwargs))

    return _read(item, "vllmperf", build) or CheckSettings()


def _without_typos(own: CheckSettings) -> CheckSettings:
    """Settings whose unknown names may be those of custom metrics: one that is nearly a metric's is a typing error.

    Raises:
        SpecError: for such a name. Any other is refused by `check`, if the test has not recorded it.
    """
    named = {"gate": own.gate or (), "margin": own.margins, "limits": own.limits}
    for keyword, name in ((keyword, name) for keyword, names in named.items() for name in names if may_be_custom(name)):
        if near := did_you_mean(name, [*gate_words(), *METRICS]):
            what = "metric or set" if keyword == "gate" else "metric"
            remedy = "If it is a custom metric, give its name to check() instead"
            raise SpecError(f"{keyword}: no {what} has the name {name!r}{near} {remedy}")
    return own


def card_entry(item: pytest.Item) -> CardEntry | None:
    """What the test's `scorecard` marker says; None without one.

    Raises:
        SpecError: naming the test and what is wrong.
    """

    def build(marker: pytest.Mark) -> CardEntry:
        if len(marker.args) != 1:
            raise SpecError(f"takes one name, got {len(marker.args)} positional arguments")
        _check_keywords(marker.kwargs, CardEntry, "name")
        if "baseline" not in marker.kwargs:
            raise SpecError("needs baseline=, the configuration to compare the others with")
        return _card_entry(item, marker.args[0], **marker.kwargs)

    return _read(item, "scorecard", build)


def _read(item: pytest.Item, name: str, build: Callable[[pytest.Mark], Built]) -> Built | None:
    """What a marker says, with the test and the marker in front of what is wrong with it; None without the marker."""
    marker = item.get_closest_marker(name)
    if marker is None:
        return None
    try:
        return build(marker)
    except (SpecError, TypeError) as error:  # TypeError: a keyword given twice, or one that the constructor reserves
        raise SpecError(f"{item.nodeid}: @pytest.mark.{name}: {error}") from None


def _card_entry(item: pytest.Item, name: object, *, baseline: object, configuration: object = None) -> CardEntry:
    parameters = getattr(getattr(item, "callspec", None), "id", None) or item.name
    row = parameters if configuration is None else configuration
    words = {"name": name, "baseline": baseline, "configuration": row}
    for what, word in words.items():
        if not isinstance(word, str) or not word.strip() or "\n" in word:
            raise SpecError(f"{what}={word!r} must be a short text")
    return CardEntry(**words)  # type: ignore[arg-type]


def _check_keywords(given: Mapping[str, object], function: Callable[..., object], *positional: str) -> None:
    left_out = ("cls", "self", *positional)
    known = [name for name in inspect.signature(function).parameters if name not in left_out]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SpecError(f"unknown keyword {unknown[0]!r}; known are {', '.join(known)}")
