"""Why a point failed, in a few words. Pure."""

from __future__ import annotations

import re
from typing import Final

from pytest_vllmperf.errors import EngineDiedError, EngineStartError, EngineTimeoutError, WorkloadError

OUT_OF_MEMORY: Final = "out of memory"
_MEMORY: Final = re.compile(
    r"out of memory|OutOfMemory|No available memory for the cache blocks|larger than the available KV cache memory"
    r"|less than desired \w+ memory utilization|Cannot allocate memory|\bMemoryError\b|can't allocate memory",
    re.IGNORECASE,
)


def reason(error: Exception) -> str:
    """What the error means for the point.

    Args:
        error: of the start of an engine, or of a measurement.
    """
    tail = getattr(error, "log_tail", "")
    if _MEMORY.search(f"{error}\n{tail}"):
        return OUT_OF_MEMORY
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (EngineStartError, "did not start"),
        (EngineTimeoutError, "timed out"),
        (EngineDiedError, "engine died"),
        (WorkloadError, "workload does not fit"),
    )
    return next((words for kind, words in kinds if isinstance(error, kind)), "failed")
