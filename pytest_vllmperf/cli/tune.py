"""`vllmperf tune memory`: the largest memory and length with which a model starts and serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.masking import MASK, is_secret_name
from pytest_vllmperf.records.parsing import number
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import NOT_ENGINE_ARGS, EngineSpec
from pytest_vllmperf.report import fits
from pytest_vllmperf.sweep.bounds import Bounds
from pytest_vllmperf.sweep.fitting import NothingFitsError, fit

FOUND = 0
NOTHING_FITS = 1
_LONG_S = 10.0


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        model: a path, a hub name, or a built-in model.
        arguments: engine arguments as `NAME=VALUE`.
        backend: which kind of engine.
        gpu: part of the name of the GPU; None for any.
        gpu_memory_utilization: bounds as `LOW:HIGH`; None for all that make sense.
        kv_cache_memory_bytes: the same.
        max_model_len: the same.
        leave_mib: MiB that stay free for others.
        start_timeout: seconds for one engine to come up.
        operation_timeout: seconds for its load.
    """

    model: str
    arguments: Sequence[str]
    backend: str
    gpu: str | None
    gpu_memory_utilization: str | None
    kv_cache_memory_bytes: str | None
    max_model_len: str | None
    leave_mib: int
    start_timeout: float
    operation_timeout: float

    def spec(self) -> EngineSpec:
        """The engine.

        Raises:
            SpecError: for arguments that cannot be meant.
        """
        return EngineSpec.create(self.model, backend=self.backend, **arguments_of(self.arguments))

    def bounds(self) -> Bounds:
        """Between which values to search.

        Raises:
            SpecError: for bounds that cannot be meant.
        """
        return Bounds(
            _pair("--gpu-memory-utilization", self.gpu_memory_utilization, float),
            _pair("--kv-cache-memory-bytes", self.kv_cache_memory_bytes, int),
            _pair("--max-model-len", self.max_model_len, int),
            self.leave_mib,
        )


def memory(asked: Asked, told: Callable[[str], None], *, as_json: bool) -> tuple[str, int]:
    """Search, and tell what was found.

    Args:
        asked: what the command line asks for.
        told: called with a line for each try.
        as_json: whether the result is for a program.

    Returns:
        The result, and the exit code: 0 found, 1 nothing that was tried works.

    Raises:
        SpecError: for input that cannot be meant.
        ModelError: for a model that is nowhere.
        EngineUnsupportedError: when this build or device cannot run the model at all.
    """
    spec, bounds = asked.spec(), asked.bounds()
    requirement = None if asked.gpu is None else GpuRequirement(asked.gpu)
    seconds = number(0, exclusive=True)
    start, operation = (
        seconds("--start-timeout", asked.start_timeout),
        seconds("--operation-timeout", asked.operation_timeout),
    )
    lab = Lab(Settings(Update.NONE, Path(), DEFAULTS, start, operation), Waiting(told))
    try:
        found = fit(lab, spec, bounds, requirement, lambda tried: told(fits.line(tried)))
    except NothingFitsError as error:
        lines = [*fits.table(error.tries), "", str(error)]
        return (fits.as_json(None, error.tries, str(error)) if as_json else "\n".join(lines)), NOTHING_FITS
    finally:
        lab.close()
    return (fits.as_json(found, found.tries) if as_json else "\n".join(fits.found(found))), FOUND


class Waiting:
    """Tells once of all that takes long, such as waiting for a device that another run holds.

    Args:
        told: called with a line.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._known: set[str] = set()

    def __call__(self, doing: str, waited: float) -> None:
        """Tell a line, where it is new and takes long."""
        if waited >= _LONG_S and doing not in self._known:
            self._known.add(doing)
            self._told(f"{doing} ...")


def arguments_of(given: Sequence[str]) -> dict[str, Any]:
    """Engine arguments of a command line: values as JSON where they are, else as text."""
    arguments: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            raise SpecError(
                f"--set {MASK if is_secret_name(name) else one}: this is not NAME=VALUE, such as max_num_seqs=64"
            )
        if name in NOT_ENGINE_ARGS:
            raise SpecError(f"{name!r} is no engine argument")
        if name in arguments:
            raise SpecError(f"{name} is given twice")
        arguments[name] = value_of(value)
    return arguments


def value_of(text: str) -> Any:
    """A value as Python or JSON writes it; anything else is text."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for read in (json.loads, float):  # `.9` is no JSON
        with suppress(ValueError):
            return read(text)
    return text


def _pair(option: str, text: str | None, kind: type) -> tuple[Any, Any] | None:
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        return (kind(low), kind(high if colon else low))
    except ValueError:
        raise SpecError(
            f"{option}: {text!r} is not LOW:HIGH, such as {'0.5:0.95' if kind is float else '128:8192'}"
        ) from None
