"""Was the load generator the limit? Pure: computed from answers, lags and delays after the run."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Final

from pytest_vllmperf.loadgen.job import Job
from pytest_vllmperf.records.answers import Answer, ClientAudit, ClientProcess

_S: Final = 10**9
_FULL: Final = 0.95
"""The share of a closed loop's concurrency from which on it counts as full."""


def quantile_ns(values: Sequence[int], probability: float) -> int:
    """The smallest value that at least this share of the values does not exceed; 0 without values."""
    if not values:
        return 0
    return sorted(values)[max(0, math.ceil(probability * len(values)) - 1)]


def audit(job: Job, answers: Sequence[Answer], lags_ns: array[int], processes: Sequence[ClientProcess]) -> ClientAudit:
    """What the load generator says of itself.

    Args:
        job: what was to be sent.
        answers: what came of it.
        lags_ns: from when each request was due until it was sent, without the opening of its connection.
        processes: what each process says of itself.
    """
    wanted, achieved = (None, None) if job.concurrency is not None else rates(answers)
    return ClientAudit(quantile_ns(lags_ns, 0.5), quantile_ns(lags_ns, 0.99), wanted, achieved, tuple(processes))


def rates(answers: Sequence[Answer]) -> tuple[float | None, float | None]:
    """Requests a second by the schedule, and as they were sent: gaps over the time from the first to the last.

    Both are of the requests that were sent; None for fewer than two.
    """
    sent = [answer for answer in answers if answer.sent_ns is not None]
    return _rate([answer.due_ns for answer in sent]), _rate([answer.sent_ns or 0 for answer in sent])


def _rate(times_ns: Sequence[int]) -> float | None:
    if len(times_ns) < 2 or min(times_ns) == max(times_ns):
        return None
    return (len(times_ns) - 1) * _S / (max(times_ns) - min(times_ns))


def in_flight(answers: Sequence[Answer]) -> tuple[tuple[int, int], ...]:
    """(nanoseconds, requests in flight) at each change: a request is in flight from when it is sent until it ends."""
    changes: dict[int, int] = {}
    for answer in answers:
        if answer.sent_ns is not None:
            changes[answer.sent_ns] = changes.get(answer.sent_ns, 0) + 1
            changes[answer.end_ns] = changes.get(answer.end_ns, 0) - 1
    found, count = [], 0
    for at in sorted(changes):
        if changes[at]:
            count += changes[at]
            found.append((at, count))
    return tuple(found)


def steady(changes: Sequence[tuple[int, int]], concurrency: int | None) -> tuple[int, int] | None:
    """The window in which a closed loop was full: from when 95 % of its places were taken until they last were.

    A place is free for a moment between two requests; such gaps do not end the window.

    Args:
        changes: of `in_flight`.
        concurrency: places of the closed loop; None for an open one, which has no such window.

    Returns:
        Begin and end in nanoseconds; None where it was never full.
    """
    if concurrency is None:
        return None
    enough = max(1, math.ceil(_FULL * concurrency))
    begin = next((at for at, count in changes if count >= enough), None)
    if begin is None:
        return None
    for (_, before), (at, _) in zip(reversed(changes[:-1]), reversed(changes[1:]), strict=True):
        if before >= enough:
            return begin, at
    return None
