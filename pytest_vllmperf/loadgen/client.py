"""Runs a job: one client process, or several on one schedule and one clock."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pytest_vllmperf.loadgen import audit, processes
from pytest_vllmperf.loadgen.job import Job
from pytest_vllmperf.records.answers import LoadResult

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


def run(job: Job, on_tick: Callable[[float], None] = lambda _: None) -> LoadResult:
    """Send all calls and wait until each has ended, one way or another.

    Args:
        job: what to send.
        on_tick: called about four times a second with the seconds since the start; what it raises ends the run.

    Raises:
        EngineError: when the load generator itself cannot be run.
        WorkloadError: for a call that follows one that is not before it.
    """
    parts = processes.shares(job, processes.needed(job, len(os.sched_getaffinity(0))))
    start_ns, collected = processes.run_shares(parts, on_tick)
    return result(job, start_ns, collected, proxies(os.environ))


def result(job: Job, start_ns: int, collected: Sequence[processes.Collected], notes: Sequence[str] = ()) -> LoadResult:
    """What the client processes handed over, put together.

    Args:
        job: what was to be sent.
        start_ns: when the schedule began.
        collected: of each process.
        notes: of the parent.
    """
    order = {call.index: place for place, call in enumerate(job.calls)}
    answers = tuple(
        sorted((answer for one in collected for answer in one.answers), key=lambda answer: order[answer.index])
    )
    lags: array[int] = array("q")
    for one in collected:
        lags.extend(one.lags_ns)
    changes = audit.in_flight(answers)
    own = [one.process for one in collected if one.process is not None]
    return LoadResult(
        answers,
        audit.audit(job, answers, lags, own),
        start_ns,
        audit.steady(changes, job.concurrency),
        changes,
        (*notes, *(note for one in collected for note in one.notes)),
    )


def proxies(variables: Mapping[str, str]) -> tuple[str, ...]:
    """A note where variables name a proxy, which the load generator never uses; their values may hold passwords."""
    named = sorted(name for name, value in variables.items() if name.lower() in _PROXIES and value)
    return (f"{', '.join(named)}: ignored, requests go to the server directly",) if named else ()
