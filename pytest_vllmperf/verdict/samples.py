"""Both sides of one metric, picked out of stored sessions and new engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.records.samples import EngineSamples, Session


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
    """Both sides of a metric, without engines that have not measured it, or whose kind of start does not count."""

    def values(some: Sequence[EngineSamples]) -> list[list[float]]:
        return [found for engine in some if (found := metric.counted(engine))]

    stored = [found for session in sessions if (found := values(session.engines))]
    return MetricSamples(stored, values(engines))


def paired_samples(
    metric: Metric, sessions: Sequence[Session], engines: Sequence[EngineSamples]
) -> MetricSamples | None:
    """Samples of each request on each engine; None for a metric that is not compared so, or where requests differ."""
    if metric.by_request is None:
        return None
    stored = [[metric.by_request(engine) for engine in session.engines] for session in sessions]
    new = [metric.by_request(engine) for engine in engines]
    everything = [requests for session in stored for requests in session] + new
    counts = {len(requests) for requests in everything}
    if len(counts) != 1 or 0 in counts or min(min(requests) for requests in everything) <= 0:
        return None
    return MetricSamples(stored, new)
