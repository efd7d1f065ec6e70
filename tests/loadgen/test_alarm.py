"""The kernel's timer on an event loop."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

import uvloop

from pytest_vllmperf.loadgen.alarm import Alarm


def rung(*at: int | None) -> list[int]:
    """When an alarm that is set to the first time, and at each ring to the next, has rung."""
    times: list[int] = []

    async def main() -> None:
        over = asyncio.get_running_loop().create_future()
        left = list(at)

        def ring() -> None:
            times.append(monotonic_ns())
            if left:
                alarm.set(left.pop(0))
            else:
                over.set_result(None)

        alarm = Alarm(asyncio.get_running_loop(), ring)
        alarm.set(left.pop(0))
        await over
        alarm.close()

    uvloop.run(main())
    return times


def test_rings_at_its_time_and_never_before() -> None:
    now = monotonic_ns()
    wanted = [now + 2_300_000, now + 2_800_000, now + 9_100_000]
    assert all(at >= due for at, due in zip(rung(*wanted), wanted, strict=True))


def test_a_time_that_has_passed_rings_at_once() -> None:
    assert len(rung(1, 0, -5)) == 3


def test_an_alarm_that_is_set_to_never_does_not_ring() -> None:
    async def main() -> list[int]:
        found: list[int] = []
        loop = asyncio.get_running_loop()
        first = Alarm(loop, lambda: found.append(1))
        first.set(monotonic_ns() + 1_000_000)
        first.set(None)
        over = loop.create_future()
        second = Alarm(loop, lambda: over.set_result(None))
        second.set(monotonic_ns() + 20_000_000)
        await over
        first.close()
        second.close()
        return found

    assert uvloop.run(main()) == []
