"""Runs a job: one client process, or several on one schedule and one clock."""

from __future__ import annotations

from collections.abc import Callable

from pytest_vllmperf.load.job import Job
from pytest_vllmperf.records.answers import LoadResult


def run(job: Job, on_tick: Callable[[float], None] = lambda _: None) -> LoadResult:
    """Send all calls and wait until each has ended, one way or another.

    Args:
        job: what to send.
        on_tick: called about four times a second with the seconds since the start; what it raises ends the run.

    Raises:
        EngineError: when the load generator itself cannot be run.
    """
    raise NotImplementedError
