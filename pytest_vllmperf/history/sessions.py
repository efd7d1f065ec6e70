"""What a history keeps of a baseline file: a run for each of its sessions. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from pytest_vllmperf import stats
from pytest_vllmperf.history.taking import Point, Taken, digest, place, seconds, storable
from pytest_vllmperf.lab.environment import profile_of
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.records.samples import Entry, Session
from pytest_vllmperf.records.trends import NOT_FINITE, Declared, SeriesId
from pytest_vllmperf.records.verdict import Status


def of_baseline(module: str, entries: Mapping[str, Entry]) -> list[Taken]:
    """What is kept of a baseline file: a run for each of its sessions, oldest first.

    Args:
        module: path of the test module, as in a node id.
        entries: the checks of the file by their names in it.
    """
    return [
        _of_session(CheckId.parse(module, name), entry, session)
        for name, entry in entries.items()
        for session in entry.sessions
    ]


def _of_session(check: CheckId, entry: Entry, session: Session) -> Taken:
    environment = place(session.environment.hard, session.environment.soft, entry.workload)
    profile = storable(profile_of(session.environment.hard))
    soft = session.environment.soft
    content = [[engine.model_dump() for engine in session.engines], environment]
    return Taken(
        key=digest(["baseline", str(check.test), check.own, profile, session.recorded, content]),
        source="baseline",
        run={
            "started": storable(session.recorded),
            "commit_hash": None,
            "dirty": None,
            "complete": True,
            "outcome": "recorded",
            "plugin": storable(soft.get("plugin", "")),
            "device": profile,
            "driver": soft.get("driver"),
            "vllm": soft.get("version of vllm"),
        },
        points=tuple(_points(check, profile, environment, session, entry.judging.gate)),
    )


def _points(
    check: CheckId, profile: str, environment: tuple[str, str, str], session: Session, gate: Sequence[str]
) -> Iterator[Point]:
    time = seconds(session.recorded)
    for name in METRICS.ordered(frozenset[str]().union(*(engine.measured for engine in session.engines))):
        metric = METRICS[name]
        engines = [values for engine in session.engines if (values := engine.values(name))]
        if not engines:
            continue
        value = stats.center(engines)
        yield Point(
            series=SeriesId(storable(str(check.test)), storable(check.own), 0, profile, name),
            metric=Declared(
                label=metric.label,
                unit=metric.unit.symbol,
                better=metric.better.value,
                kind=metric.kind.value,
                clock=metric.clock.value,
                gated=name in gate,
            ),
            environment=environment,
            time=time,
            value=value if math.isfinite(value) else None,
            engines=tuple(float(median(values)) for values in engines),
            check_status=Status.RECORDED.value,
            left_out="" if math.isfinite(value) else NOT_FINITE,
        )
