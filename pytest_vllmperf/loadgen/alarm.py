"""`Alarm`: a timer of the kernel with nanoseconds. The timers of uvloop (libuv) know whole milliseconds only."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_SECOND: Final = 10**9
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """`struct itimerspec`: the interval of repetition, and the time of the first expiry."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Calls a function of an event loop at a time of CLOCK_MONOTONIC.

    Args:
        loop: the event loop that waits for the timer.
        ring: called when the time has come; it may set the alarm again.

    Raises:
        OSError: when the kernel has no timer left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._fd = _LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._loop = loop
        self._ring = ring
        self._spec = _Spec()
        loop.add_reader(self._fd, self._expired)

    def set(self, at_ns: int | None) -> None:
        """Ring at this time instead of any earlier one.

        Args:
            at_ns: monotonic nanoseconds; a time that has passed rings at once. None for never.
        """
        spec = self._spec
        spec.value_s, spec.value_ns = (0, 0) if at_ns is None else divmod(max(1, at_ns), _SECOND)
        _LIBC.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None)

    def _expired(self) -> None:
        """Take the expiry from the descriptor, so that it is not told again."""
        with suppress(BlockingIOError):  # set again in the meantime
            os.read(self._fd, 8)
            self._ring()

    def close(self) -> None:
        """Never ring again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
