"""What a search for the memory limit found: each try, and the largest values that work."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.masking import masked, masked_text
from pytest_vllmperf.records.spec import DEFAULT_BACKEND, EngineSpec


@dataclass(frozen=True)
class Try:
    """One value that was tried, on an engine of its own.

    Attributes:
        gpu_memory_utilization: share of a GPU's memory; None where it was not named.
        kv_cache_memory_bytes: size of the KV cache; None where it was not named.
        max_model_len: longest prompt plus output in tokens; None where it was not named.
        outcome: "works"; "too little": more memory is needed; "failed"; "not tried": nothing was started.
        reason: the engine's own words in one line; empty where it works.
        seconds: from the start of the engine to the end of its load.
    """

    gpu_memory_utilization: float | None
    kv_cache_memory_bytes: int | None
    max_model_len: int | None
    outcome: Literal["works", "too little", "failed", "not tried"]
    reason: str
    seconds: float


@dataclass(frozen=True)
class Fit:
    """The largest values with which a model starts and serves.

    Attributes:
        gpu_memory_utilization: share of a GPU's memory; None where another argument says the size.
        kv_cache_memory_bytes: size of the KV cache; None where another argument says it.
        max_model_len: longest prompt plus output in tokens.
        tries: all that was tried, in that order.
        spec: the engine with these values.
    """

    gpu_memory_utilization: float | None
    kv_cache_memory_bytes: int | None
    max_model_len: int
    tries: tuple[Try, ...]
    spec: EngineSpec

    @property
    def marker(self) -> str:
        """The engine as a marker to paste above a test; secrets in it are masked."""
        spec = self.spec
        beside: dict[str, Any] = {}
        if spec.backend != DEFAULT_BACKEND:
            beside["backend"] = spec.backend
        if spec.python != sys.executable:
            beside["python"] = without_home(spec.python, home())
        if spec.env:
            beside["env"] = {name: masked(name, value) for name, value in spec.env}
        return f"@pytest.mark.vllm({_quoted(masked_text(spec.model))}{_keywords({**beside, **spec.shown_args})})"


def _keywords(arguments: Mapping[str, Any]) -> str:
    return "".join(f", {name}={_literal(value)}" for name, value in arguments.items())


def _literal(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A string literal in double quotes, as formatters write them."""
    shown = repr(text)
    return shown if '"' in text or "\\" in shown else f'"{text}"'
