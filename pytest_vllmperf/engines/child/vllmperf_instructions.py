"""Instructions that an engine's processes execute, by the kernel's performance counters (`man 2 perf_event_open`).

A counter counts the thread that opens it, and every thread and process that this one starts from then on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

METRIC = "cpu_instructions"
INSTRUCTIONS = (0, 1)
"""PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS."""

TASK_CLOCK = (1, 1)
"""PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK: nanoseconds on a CPU, which every machine can count."""

_SYSCALL = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTES = struct.Struct("=IIQQQQQ16x")
"""`struct perf_event_attr`, first version: type, size, event, period, samples, what is read, flags."""

_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_TIMES = 0b11
"""PERF_FORMAT_TOTAL_TIME_ENABLED and PERF_FORMAT_TOTAL_TIME_RUNNING."""

_VALUES = struct.Struct("=QQQ")
_CLOSE_ON_EXEC = 8
_THIS_THREAD, _ANY_CPU, _NO_GROUP = 0, -1, -1
_PARANOID = "/proc/sys/kernel/perf_event_paranoid"


class Counter:
    """Counts from its making on.

    Args:
        event: type and number; None to count nothing.

    Attributes:
        reason: why nothing is counted, in words; empty where it is, and where nobody asked.
    """

    def __init__(self, event: tuple[int, int] | None = INSTRUCTIONS) -> None:
        self.reason = ""
        self._fd: int | None = None
        if event is None:
            return
        try:
            self._fd = _opened(event)
        except OSError as error:
            self.reason = _words(error)

    def read(self) -> float | None:
        """How many so far; None where nothing is counted.

        Where another user of the processor's counters had them for a part of the time, that part is estimated.
        """
        if self._fd is None:
            return None
        value, enabled, running = _VALUES.unpack(os.read(self._fd, _VALUES.size))
        if running in (0, enabled):
            return float(value)
        return float(value * enabled / running)

    def since(self, before: float | None) -> float | None:
        """How many since an earlier reading; None where nothing is counted."""
        now = self.read()
        return None if now is None or before is None else now - before

    def unmeasured(self) -> dict[str, str]:
        """Why the metric cannot be measured, by its name; empty where it can."""
        return {METRIC: self.reason} if self.reason else {}


def _opened(event: tuple[int, int]) -> int:
    """A descriptor of a new counter.

    Raises:
        OSError: when the kernel refuses.
    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    attributes = _ATTRIBUTES.pack(event[0], _ATTRIBUTES.size, event[1], 0, 0, _TIMES, flags)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    handle = ctypes.create_string_buffer(attributes, len(attributes))
    numbers = [ctypes.c_long(one) for one in (_THIS_THREAD, _ANY_CPU, _NO_GROUP, _CLOSE_ON_EXEC)]
    found = int(call(ctypes.c_long(number), handle, *numbers))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


def _words(error: OSError) -> str:
    """Why the kernel refused a counter."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
        return "this machine has no hardware counters; most virtual machines have none"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"the kernel does not let this user count instructions (kernel.perf_event_paranoid is {_paranoid()})"
    if error.errno == errno.ENOSYS:
        return "this kernel does not support performance counters"
    return f"the performance counters cannot be opened: {error.strerror}"


def _paranoid() -> str:
    try:
        with open(_PARANOID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
