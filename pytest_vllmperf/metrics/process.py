"""Metrics of the engine's processes: host memory, and how long they took to start."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass, Start
from pytest_vllmperf.metrics.units import BYTES, SECONDS
from pytest_vllmperf.stats import Direction

_LOWER: Final = Direction.LOWER
_LOAD: Final = MetricClass.LOAD
_ENGINE: Final = Clock.ENGINE


class ProcessMetrics:
    """Host memory and load times."""

    resident_bytes = Metric(
        "resident_bytes", "resident memory", BYTES, _LOWER, MetricClass.MEMORY, Clock.NONE,
        formula="resident set of the engine's processes after an iteration",
        source="psutil",
        of=lambda one: one.result.resident_bytes,
    )  # fmt: skip
    load_time = Metric(
        "load_time", "load time", SECONDS, _LOWER, _LOAD, _ENGINE,
        formula="from the call of `vllm.LLM` to its return",
        start=Start.WARM,
        of_start=lambda one: one.load_time("total"),
    )  # fmt: skip
    load_time_cold = Metric(
        "load_time.cold", "load: cold start", SECONDS, _LOWER, _LOAD, _ENGINE,
        formula="load_time of an engine's first start in a run, when caches may be empty",
        start=Start.COLD,
        of_start=lambda one: one.load_time("total") if one.cold else None,
    )  # fmt: skip
    load_time_import = Metric(
        "load_time.import", "load: import", SECONDS, _LOWER, _LOAD, _ENGINE,
        formula="import of vLLM in the interpreter's server process, shared by its engines",
        start=Start.WARM,
        of_start=lambda one: one.load_time("import"),
    )  # fmt: skip
    load_time_weights = Metric(
        "load_time.weights", "load: weights", SECONDS, _LOWER, _LOAD, _ENGINE,
        formula="vLLM's own 'Loading weights took'",
        source="log",
        start=Start.WARM,
        of_start=lambda one: one.load_time("weights"),
    )  # fmt: skip
    load_time_rest = Metric(
        "load_time.rest", "load: rest", SECONDS, _LOWER, _LOAD, _ENGINE,
        formula="load_time - load_time.weights: configuration, profiling, KV cache, warm-up",
        start=Start.WARM,
        of_start=lambda one: one.load_time("rest"),
    )  # fmt: skip
