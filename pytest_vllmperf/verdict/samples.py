"""Both sides of one metric, picked out of stored sessions and new engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.metrics.table import Metric, MetricClass
from pytest_vllmperf.records.samples import EngineSamples, Session

PAIRED: Final = "ttft.p50"
"""The metric that is judged request by request, as every engine meets the same requests in the same order."""

COLD: Final = "load_time.cold"
"""The one load time of cold starts; it depends on caches outside the engine, and decides nothing."""


@dataclass(frozen=True)
class MetricSamples:
    """One metric, in its unit of the table.

    Attributes:
        stored: sessions -> engines -> iterations.
        new: engines -> iterations.
    """

    stored: Sequence[Sequence[Sequence[float]]]
    new: Sequence[Sequence[float]]

    @property
    def stored_engines(self) -> list[Sequence[float]]:
        """The stored engines, whichever their session."""
        return [engine for session in self.stored for engine in session]


def metric_samples(metric: Metric, sessions: Sequence[Session], engines: Sequence[EngineSamples]) -> MetricSamples:
    """Both sides of a metric, without engines that have not measured it; of a load time only the warm starts."""
    warm = metric.kind is MetricClass.LOAD and metric.name != COLD

    def values(some: Sequence[EngineSamples]) -> list[list[float]]:
        return [found for e in some if not (warm and e.cold_start) and (found := e.values(metric.name))]

    stored = [found for session in sessions if (found := values(session.engines))]
    return MetricSamples(stored, values(engines))


def paired_samples(sessions: Sequence[Session], engines: Sequence[EngineSamples]) -> MetricSamples | None:
    """TTFT of each request on each engine; None where any engine has not the same requests."""
    stored = [[engine.ttft_by_request for engine in session.engines] for session in sessions]
    new = [engine.ttft_by_request for engine in engines]
    everything = [requests for session in stored for requests in session] + new
    counts = {len(requests) for requests in everything}
    if len(counts) != 1 or 0 in counts or min(min(requests) for requests in everything) <= 0:
        return None
    return MetricSamples(stored, new)
