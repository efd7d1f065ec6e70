"""Hyperparameters of a profile: what its baselines together say of the noise of each class of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import Session
from pytest_vllmperf.stats import (
    DEVICE_CLOCK,
    UNKNOWN,
    WALL_CLOCK,
    EngineTable,
    FloatArray,
    Prior,
    Spread,
    fit_prior,
    observe,
)
from pytest_vllmperf.verdict.samples import stored_table

HISTORY_METRICS = 10
"""A profile of fewer metrics says little of what engines vary by."""

SESSIONS_TO_FIT = 3
"""So many sessions, and not fewer, say how far sessions lie apart."""

Gap: TypeAlias = tuple[int, int] | None
Priors: TypeAlias = Mapping[MetricClass, Prior]


def class_prior(kind: MetricClass) -> Prior:
    """The prior of a class where its profile says nothing yet."""
    return {MetricClass.GPU_TIME: DEVICE_CLOCK, MetricClass.CUSTOM: UNKNOWN}.get(kind, WALL_CLOCK)


def fit_priors(histories: Iterable[Sequence[Session]]) -> Priors:
    """Fit the hyperparameters of every class over all metrics of all baselines of one profile.

    The sessions' own stay those of the class until a baseline has three of them. Custom metrics are not pooled:
    those of one test say nothing of another's.

    Args:
        histories: the sessions of each stored check of the profile, oldest first; all of one kind of hardware.
    """
    stored = list(histories)
    longest = max(map(len, stored), default=0)
    found: dict[MetricClass, Prior] = {}
    for kind in MetricClass:
        metrics = [metric for metric in METRICS.values() if metric.kind is kind and metric.decides]
        found_here = [stored_table(metric, sessions) for sessions in stored for metric in metrics]
        tables = [one for one in found_here if one is not None]
        if tables and not kind.exact:
            fitted = fit_tables(tables, class_prior(kind), sessions=longest >= SESSIONS_TO_FIT)
            found[kind] = replace(fitted, sessions=longest)
    return found


def fit_tables(tables: Sequence[tuple[EngineTable, Gap]], start: Prior, *, sessions: bool) -> Prior:
    """Fit the hyperparameters on engine values, twice: only the first fit says what is a wild engine of this class.

    Args:
        tables: engine values of all metrics of a class, by layout, and where sessions are missing; at least one.
        start: the prior of the class.
        sessions: whether how far sessions lie apart is to be fitted too.
    """
    fitted = start
    alike, order = _by_layout(tables)
    for _ in range(2):
        spreads = [observe(values, layout, fitted, gap)[1] for (layout, gap), values in alike.items()]
        together = (np.concatenate([getattr(one, name) for one in spreads])[order] for name in Spread.__slots__)
        fitted = fit_prior(Spread(*together), start, sessions=sessions)
    return replace(fitted, metrics=len(order))


def _by_layout(
    tables: Sequence[tuple[EngineTable, Gap]],
) -> tuple[Mapping[tuple[tuple[int, ...], Gap], FloatArray], Sequence[int]]:
    """Metrics of one layout as one array, as a call for each metric would take ten times as long.

    Returns:
        Their values by layout and gap, and where the metrics of the tables stand in all of these, one after the other.
    """
    values: dict[tuple[tuple[int, ...], Gap], list[FloatArray]] = {}
    places: dict[tuple[tuple[int, ...], Gap], list[int]] = {}
    count = 0
    for one, gap in tables:
        values.setdefault((one.layout, gap), []).append(one.values)
        places.setdefault((one.layout, gap), []).extend(range(count, count + len(one.values)))
        count += len(one.values)
    order = np.argsort([place for alike in places.values() for place in alike]).tolist()
    return {alike: np.concatenate(parts) for alike, parts in values.items()}, order
