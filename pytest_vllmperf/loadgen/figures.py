"""A server's figures out of the text of its `/metrics`. Pure.

Names are those of vLLM 0.32 (v1/metrics/loggers.py and v1/spec_decode/metrics.py), with earlier ones behind them.
Figures of several engines, models or reasons are added up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from pytest_vllmperf.records.served import ServerMetrics

_COUNTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "preemptions": ("vllm:num_preemptions_total",),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    "finished": ("vllm:request_success_total",),
    "drafts": ("vllm:spec_decode_num_drafts_total",),
    "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
    "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
    "steps": ("vllm:iteration_tokens_total_count",),
}
_MEANS: Final[Mapping[str, str]] = {
    "queue_seconds": "vllm:request_queue_time_seconds",
    "ttft_seconds": "vllm:time_to_first_token_seconds",
}
_RUNNING: Final = ("vllm:num_requests_running",)
_WAITING: Final = ("vllm:num_requests_waiting",)
_KV_USAGE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_SUMS: Final = tuple(f"{name}_{end}" for name in _MEANS.values() for end in ("sum", "count"))
_NAMES: Final = frozenset(
    name for names in (*_COUNTERS.values(), _SUMS, _RUNNING, _WAITING, _KV_USAGE) for name in names
)
_LINES: Final = re.compile(rf"^(?:{'|'.join(sorted(map(re.escape, _NAMES)))})[ \t{{].*$", re.MULTILINE)

Figures = Mapping[str, float]
"""A figure by its name in `/metrics`: sums over all labels; of the KV cache's usage the highest."""


def wanted(text: str) -> str:
    """The lines of `/metrics` that are used here: some dozen of thousands. Cheap, to be done while a run goes on."""
    return "".join(f"{line}\n" for line in _LINES.findall(text))


def figures(text: str) -> Figures:
    """The figures in the text of `/metrics`; one that is no finite number is left out.

    Raises:
        ValueError: for a text that is not of Prometheus' format.
    """
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in _KV_USAGE:
                found[sample.name] = max(found.get(sample.name, 0.0), sample.value)
            elif sample.name in _NAMES:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return {name: value for name, value in found.items() if math.isfinite(value)}


def server_metrics(before: Figures, after: Figures, meanwhile: Sequence[Figures]) -> ServerMetrics | None:
    """What a server did between two scrapes; None where a counter went backwards, as after a restart.

    Args:
        before: the figures before the first request.
        after: those after the last.
        meanwhile: those of scrapes in between.
    """
    rising = {name for names in (*_COUNTERS.values(), _SUMS) for name in names}
    if any(after.get(name, before[name]) < before[name] for name in rising & set(before)):
        return None
    return ServerMetrics(
        **{field: _increase(before, after, names) for field, names in _COUNTERS.items()},
        **{field: _mean(before, after, name) for field, name in _MEANS.items()},
        running_max=_highest(meanwhile, _RUNNING),
        waiting_max=_highest(meanwhile, _WAITING),
        kv_usage_max=_highest(meanwhile, _KV_USAGE),
        running_after=_first(after, _RUNNING),
        waiting_after=_first(after, _WAITING),
    )


def _first(found: Figures, names: Sequence[str]) -> float | None:
    return next((found[name] for name in names if name in found), None)


def _increase(before: Figures, after: Figures, names: Sequence[str]) -> float | None:
    """How much a counter rose; one that was not there before began at 0, as Prometheus has it."""
    name = next((name for name in names if name in after), None)
    return None if name is None else after[name] - before.get(name, 0.0)


def _mean(before: Figures, after: Figures, histogram: str) -> float | None:
    total = _increase(before, after, (f"{histogram}_sum",))
    count = _increase(before, after, (f"{histogram}_count",))
    return total / count if total is not None and count else None


def _highest(meanwhile: Sequence[Figures], names: Sequence[str]) -> float | None:
    values = [value for found in meanwhile if (value := _first(found, names)) is not None]
    return max(values, default=None)
