"""What a search for the memory limit found: each try, and the largest values that work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_vllmperf.records.marker import marker
from pytest_vllmperf.records.spec import EngineSpec


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
        return marker(self.spec)
