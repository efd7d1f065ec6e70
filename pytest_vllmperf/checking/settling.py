"""Fresh engines for open checks: one at a time, shared by all checks that wait for its kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.errors import SpecError, VllmPerfError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.taking import measure_timed, profiled
from pytest_vllmperf.metrics.measurement import Measurement


def settle(perf: Lab, checks: Sequence[Check], max_time: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Start fresh engines until every check is decided, or may have no more of them.

    All open checks on one engine share each start; those that are measured in turns share the start of both. A check
    that cannot be measured again keeps the error.

    Args:
        perf: starts engines and measures.
        checks: decided ones are left alone.
        max_time: seconds for the fresh engines of one kind; none is started that would go beyond, by what the longest
            one before took.
        clock: in seconds.
    """
    kinds: dict[object, list[tuple[Check, Take]]] = {}
    for check in checks:
        if check.open and check.take is not None:
            kinds.setdefault(check.take.targets, []).append((check, check.take))
    for kind in kinds.values():
        deadline, longest = clock() + max_time, 0.0
        while (waiting := [one for one in kind if one[0].open]) and clock() + longest < deadline:
            started = clock()
            _measure_again(perf, waiting, clock)
            longest = max(longest, clock() - started)
    for check in checks:
        if check.open:
            check.look(last=True)


def _measure_again(perf: Lab, checks: Sequence[tuple[Check, Take]], clock: Callable[[], float]) -> None:
    """One more engine for each check: all are timed on it before its GPUs are profiled, which may slow it."""
    perf.retire(checks[0][1].targets)
    timed: list[tuple[Check, Take, Measurement]] = []
    for check, take in checks:
        with _spent(check, clock):
            try:
                timed.append((check, take, measure_timed(perf, take, check.rounds + 1)))
            except VllmPerfError as error:
                check.error = error
                break
    for check, take, run in timed:
        with _spent(check, clock):
            try:
                check.add(profiled(perf, take, run))
            except SpecError as error:  # of a custom metric: it concerns this check alone
                check.error = error


@contextmanager
def _spent(check: Check, clock: Callable[[], float]) -> Iterator[None]:
    """Add the time inside to what the check has spent."""
    started = clock()
    try:
        yield
    finally:
        check.spent += clock() - started
