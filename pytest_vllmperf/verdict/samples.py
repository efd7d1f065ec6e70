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


def gap_in(sessions: Sequence[Session]) -> tuple[int, int] | None:
    """Where sessions are not stored any more: the position of the first one after the gap, and how many are missing.

    None where none is missing.
    """
    return next(((position, one.dropped) for position, one in enumerate(sessions) if one.dropped), None)


@dataclass(frozen=True)
class Rounds:
    """One metric of engines that were measured in turns with a reference.

    Attributes:
        new: rounds -> iterations, or requests where `by_request`.
        reference: the same of the reference.
        by_request: whether each request is compared with itself.
    """

    new: Sequence[Sequence[float]]
    reference: Sequence[Sequence[float]]
    by_request: bool = False


def round_samples(metric: Metric, engines: Sequence[EngineSamples], reference: Sequence[EngineSamples]) -> Rounds:
    """Both sides of the rounds in which both have measured a metric, and whose kind of start counts."""
    both = [(new, old) for new, old in zip(engines, reference, strict=True) if metric.counted(new)]
    both = [(new, old) for new, old in both if metric.counted(old)]
    if metric.by_request is not None:
        requests = [(list(metric.by_request(new)), list(metric.by_request(old))) for new, old in both]
        if requests and all(len(new) == len(old) > 0 and min(*new, *old) > 0 for new, old in requests):
            return Rounds([new for new, _ in requests], [old for _, old in requests], by_request=True)
    return Rounds([metric.counted(new) for new, _ in both], [metric.counted(old) for _, old in both])
