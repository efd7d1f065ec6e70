"""When calls are sent. Pure: times come in as arguments, so that a schedule is never shifted by what a server does."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from pytest_vllmperf.loadgen.job import Call

Due = tuple[int, Call]
"""When a call is due, in monotonic nanoseconds, and the call."""


class Pacing(Protocol):
    """Gives out calls as they become due."""

    def take(self, now: int) -> Due | None:
        """A call that is due by now; None where there is none."""

    def ended(self, call: Call, at: int) -> None:
        """A call that was taken has ended at this time."""

    def wake(self) -> int | None:
        """When the next call is due; None where that depends on the end of another one, or none is left."""

    def waiting(self, now: int) -> list[Due]:
        """Calls that were due by now and have not been taken, because the call before each has not ended."""


class OpenLoop:
    """Calls are due by a schedule, whatever the server does; one that follows another not before that has ended.

    Args:
        calls: in the order of the workload.
        start_ns: when the schedule begins, in monotonic nanoseconds.
        until_ns: calls that the schedule has later are not sent; None for all. One that is late because the call before
            it was is sent all the same: a slow server does not get away with less work.
    """

    def __init__(self, calls: Sequence[Call], start_ns: int, until_ns: int | None = None) -> None:
        self._start = start_ns
        self._until = until_ns
        self._calls = calls
        self._after = followers(calls)
        first = [(self._scheduled(call), place) for place, call in enumerate(calls) if call.after is None]
        self._heap = [due for due in first if until_ns is None or due[0] <= until_ns]
        heapq.heapify(self._heap)

    def _scheduled(self, call: Call) -> int:
        return self._start + (call.due_ns or 0)

    def take(self, now: int) -> Due | None:
        """A call that is due by now; None where there is none."""
        next_due = self.wake()
        if next_due is None or next_due > now:
            return None
        due, place = heapq.heappop(self._heap)
        return due, self._calls[place]

    def ended(self, call: Call, at: int) -> None:
        """A call that was taken has ended at this time: what follows it becomes due."""
        for place in self._after.pop(call.index, ()):
            scheduled = self._scheduled(self._calls[place])
            if self._until is None or scheduled <= self._until:
                heapq.heappush(self._heap, (max(scheduled, at), place))

    def wake(self) -> int | None:
        """When the next call is due; None where that depends on the end of another one, or none is left."""
        return self._heap[0][0] if self._heap else None

    def waiting(self, now: int) -> list[Due]:
        """Calls that were due by now and have not been taken, because the call before each has not ended."""
        last = now if self._until is None else min(now, self._until)
        blocked = (self._calls[place] for places in self._after.values() for place in places)
        return sorted(
            ((self._scheduled(call), call) for call in blocked if self._scheduled(call) <= last),
            key=lambda due: (due[0], due[1].index),
        )


class ClosedLoop:
    """A call is due when a place has become free: as many are under way as there are places.

    Of calls that can be sent, the first of the workload goes first; one that follows another can be sent when that has
    ended. A place that finds none stays free, and the next call that can be sent is due at once.

    Args:
        calls: in the order of the workload.
        places: how many may be under way.
        start_ns: when the places become free for the first time, in monotonic nanoseconds.
        until_ns: calls that are due later are not sent; None for all.
    """

    def __init__(self, calls: Sequence[Call], places: int, start_ns: int, until_ns: int | None = None) -> None:
        self._calls = calls
        self._until = until_ns
        self._after = followers(calls)
        self._ready = [(place, start_ns) for place, call in enumerate(calls) if call.after is None]
        self._free = deque([start_ns] * places)

    def take(self, now: int) -> Due | None:
        """A call that is due by now; None where there is none."""
        due = self.wake()
        if due is None or due > now:
            return None
        place, _ = heapq.heappop(self._ready)
        self._free.popleft()
        return due, self._calls[place]

    def ended(self, call: Call, at: int) -> None:
        """A call that was taken has ended at this time: its place is free, and what follows it can be sent."""
        self._free.append(at)
        for place in self._after.pop(call.index, ()):
            heapq.heappush(self._ready, (place, at))

    def wake(self) -> int | None:
        """When the next call is due; None where that depends on the end of another one, or none is left."""
        if not self._ready or not self._free:
            return None
        due = max(self._free[0], self._ready[0][1])
        return due if self._until is None or due <= self._until else None

    def waiting(self, now: int) -> list[Due]:  # noqa: ARG002 - as the protocol has it
        """None: a call of a closed loop is due when it can be sent."""
        return []


def followers(calls: Sequence[Call]) -> dict[int, list[int]]:
    """Positions of the calls that come after a call, by the index of that one."""
    found: dict[int, list[int]] = {}
    for place, call in enumerate(calls):
        if call.after is not None:
            found.setdefault(call.after, []).append(place)
    return found
