"""The memory limit: its tries as a table, a line while the search goes on, and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from tabulate import tabulate

from pytest_vllmperf.records.fit import Fit, Try
from pytest_vllmperf.report.units import size

COLUMNS = ("memory", "max_model_len", "outcome", "s", "reason")
_GIVEN = "as given"


def line(tried: Try) -> str:
    """One try, for a person who waits."""
    memory, length, outcome, seconds, reason = cells(tried)
    memory = "memory as given" if memory == _GIVEN else memory
    where = f"{memory} max_model_len={length}" if length else memory
    told = f"{where}: {outcome}" + (f" ({seconds} s)" if seconds else "")
    return f"{told}: {reason}" if reason else told


def table(tries: Sequence[Try]) -> list[str]:
    """All tries, in the order in which they were made."""
    rows = [cells(one) for one in tries]
    return tabulate(rows, COLUMNS, tablefmt="simple", disable_numparse=True).splitlines()


def found(fit: Fit) -> list[str]:
    """What was found: the tries, the limit, and the marker to paste."""
    memory = _memory(fit.gpu_memory_utilization, fit.kv_cache_memory_bytes)
    told = [f"the largest that works: {memory} max_model_len={fit.max_model_len}"]
    if all(one.outcome == "works" for one in fit.tries):
        told.append("nothing larger was tried: it is where the search ended, and no limit was met")
    return [*table(fit.tries), "", *told, fit.marker]


def as_json(fit: Fit | None, tries: Sequence[Try], reason: str = "") -> str:
    """The same for a program; without a result, why there is none."""
    values = None if fit is None else {
        "gpu_memory_utilization": fit.gpu_memory_utilization,
        "kv_cache_memory_bytes": fit.kv_cache_memory_bytes,
        "max_model_len": fit.max_model_len,
        "marker": fit.marker,
    }  # fmt: skip
    return json.dumps({"found": values, "reason": reason, "tries": [asdict(one) for one in tries]}, indent=1)


def cells(tried: Try) -> tuple[str, str, str, str, str]:
    """One try as a row below `COLUMNS`."""
    length = "" if tried.max_model_len is None else str(tried.max_model_len)
    seconds = "" if tried.outcome == "not tried" else f"{tried.seconds:.1f}"
    memory = _memory(tried.gpu_memory_utilization, tried.kv_cache_memory_bytes)
    return memory, length, tried.outcome, seconds, tried.reason


def _memory(share: float | None, size_bytes: int | None) -> str:
    if share is not None:
        return f"gpu_memory_utilization={share:g}"
    return _GIVEN if size_bytes is None else f"kv_cache_memory_bytes={size_bytes} ({size(size_bytes)})"
