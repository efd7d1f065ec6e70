"""Stored sessions, cut down to what a report shows of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from pytest_vllmperf import stats
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.stored import StoredBaseline, StoredSession


def stored_baseline(sessions: Sequence[Session], metrics: Collection[str]) -> StoredBaseline | None:
    """What a report shows of the sessions that a check was judged by; None without any.

    Args:
        sessions: oldest first.
        metrics: names of the judged metrics.
    """
    if not sessions:
        return None
    return StoredBaseline(
        sessions=[
            StoredSession(recorded=one.recorded, values={name: _values(one, name) for name in metrics})
            for one in sessions
        ],
        environment=sessions[-1].environment,
        ttft_by_request=_by_request([engine for one in sessions for engine in one.engines]),
    )


def _values(session: Session, metric: str) -> list[float]:
    found = [engine.values(metric) for engine in session.engines]
    return [stats.center([values]) for values in found if values]


def _by_request(engines: Sequence[EngineSamples]) -> list[float]:
    rows = [engine.ttft_by_request for engine in engines if engine.ttft_by_request]
    if len({len(row) for row in rows}) != 1:
        return []
    return [float(value) for value in np.median(np.array(rows), axis=0)]
