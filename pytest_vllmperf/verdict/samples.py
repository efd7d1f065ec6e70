"""Both sides of one metric, picked out of stored sessions and new engines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.stats import EngineTable, flatten, pair_requests, tabulate


@dataclass(frozen=True)
class MetricSamples:
    """One metric, in its unit of the table.

    Attributes:
        stored: sessions -> engines -> iterations.
        new: engines -> iterations.
        gap: the position in `stored` of the first session after missing ones, and how many are missing: dropped from
            the baseline, or without this metric. None where none is missing. Of several gaps the first, with all
            missing.
    """

    stored: Sequence[Sequence[Sequence[float]]]
    new: Sequence[Sequence[float]]
    gap: tuple[int, int] | None = None

    @property
    def stored_engines(self) -> list[Sequence[float]]:
        """The stored engines, whichever their session."""
        return [engine for session in self.stored for engine in session]


def metric_samples(metric: Metric, sessions: Sequence[Session], engines: Sequence[EngineSamples]) -> MetricSamples:
    """Both sides of a metric, without engines that have not measured it, or whose kind of start does not count."""

    def values(some: Sequence[EngineSamples]) -> list[list[float]]:
        return [found for engine in some if (found := metric.counted(engine))]

    by_session = [values(session.engines) for session in sessions]
    gap = _gap([bool(found) for found in by_session], [session.dropped for session in sessions])
    return MetricSamples([found for found in by_session if found], values(engines), gap)


def left_out_of_some(metric: Metric, engines: Iterable[EngineSamples]) -> bool:
    """Whether a metric leaves out of some engines what it contains on others, see `Metric.leaves_out`.

    On one GPU there is nothing to leave out: such an engine is compared with any other.
    """
    if not metric.leaves_out:
        return False
    measured = [engine for engine in engines if engine.values(metric.name) and len(engine.kernels) != 1]
    return len({bool(engine.values(metric.leaves_out)) for engine in measured}) > 1


def _gap(measured: Sequence[bool], dropped: Sequence[int]) -> tuple[int, int] | None:
    """Where sessions are missing between the first and the last that measured a metric; see `MetricSamples.gap`."""
    position, missing, kept, waiting = 0, 0, 0, 0
    for here, before in zip(measured, dropped, strict=True):
        waiting += before + (not here)
        if here:
            if waiting and kept:
                position, missing = position or kept, missing + waiting
            kept, waiting = kept + 1, 0
    return (position, missing) if missing else None


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


def stored_table(metric: Metric, sessions: Sequence[Session]) -> tuple[EngineTable, tuple[int, int] | None] | None:
    """Engine values of one metric's baseline, as they are compared, and where sessions are missing.

    None where there are none, or a sample of zero allows no logarithm.
    """
    samples = metric_samples(metric, sessions, ())
    if not samples.stored or any(value <= 0 for engine in samples.stored_engines for value in engine):
        return None
    paired = paired_samples(metric, sessions, ())
    if paired is None:
        return tabulate([flatten(samples.stored, metric.name)], [metric.better]), samples.gap
    return pair_requests(paired.stored, (), metric.better, metric.name).baseline, samples.gap
