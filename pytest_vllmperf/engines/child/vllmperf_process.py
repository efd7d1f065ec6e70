"""Life and death of a child process, and its line protocol: one JSON object a line, both ways."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, with_signal: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends, however it ends (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, with_signal, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def print_traceback() -> None:
    """Write the current exception into the log, if that can be written."""
    with contextlib.suppress(OSError):  # the disk is full
        traceback.print_exc()


def kill_group(leader: int) -> None:
    """End every process of a group at once; a group that is gone already is fine."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, from the kernel's own lists: no walk through every process of the machine."""
    found = []
    with contextlib.suppress(OSError):  # a process or thread may end while it is looked at
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                for child in map(int, file.read().split()):
                    found += [child, *descendants(child)]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far, to the clock tick; 0 once it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def resident_bytes(pid: int) -> int:
    """Resident set of one process; 0 once it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def added(told: list[dict[str, int | None] | None]) -> dict[str, int | None] | None:
    """Numbers of several processes, added up by name; None where one of them knows nothing."""
    known = [one for one in told if one is not None]
    if not known or len(known) < len(told):
        return None
    columns = {name: [one[name] for one in known] for name in known[0]}
    return {
        name: None if None in values else sum(v for v in values if v is not None) for name, values in columns.items()
    }


def tree_cpu_seconds() -> float:
    """User and system time so far: this process to the nanosecond, its descendants to the clock tick."""
    return time.process_time() + sum(map(cpu_seconds, descendants(os.getpid())))


def tree_resident_bytes() -> int:
    """Resident set of this process and its descendants."""
    own = os.getpid()
    return sum(map(resident_bytes, [own, *descendants(own)]))


class Lines:
    """The two ends of a pipe pair."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._incoming = os.fdopen(read_fd, "r", encoding="utf-8")
        self._write_fd = write_fd

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Messages until the other side closes."""
        for line in self._incoming:
            yield json.loads(line)

    def send(self, message: dict[str, Any]) -> None:
        """Write one message whole."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self._write_fd, data) :]

    def close_in_descendants(self) -> None:
        """Processes forked from this one end with it, as theirs end with them, and do not keep its pipes open.

        A parent-death signal comes when the forking *thread* ends. What other threads than the main one fork, like a
        pool's helpers, goes with the process group instead.
        """
        owner = forking = os.getpid()
        by_main_thread = True

        def before_fork() -> None:
            nonlocal forking, by_main_thread
            forking = os.getpid()
            by_main_thread = threading.current_thread() is threading.main_thread()

        def after_fork() -> None:
            if by_main_thread:
                die_with_parent(forking)
            if forking != owner:  # closed already: the numbers may belong to other files by now
                return
            for fd in (self._incoming.fileno(), self._write_fd):
                try:
                    os.close(fd)
                except OSError:
                    pass

        os.register_at_fork(before=before_fork, after_in_child=after_fork)


def serve(engine: Any, messages: Iterable[dict[str, Any]], lines: Lines) -> Any:
    """Answer operations by the engine's methods until `shutdown`, or until the other side is gone.

    Each is answered by `{"ok": …}` or `{"error": …}`. Returns the engine, to be held until the process exits: taking
    an engine's objects apart takes a second.

    Args:
        engine: its methods are the operations.
        messages: what the other side asks.
        lines: answers go there.
    """
    for message in messages:
        operation = message.pop("op")
        try:
            answer = {"ok": getattr(engine, operation)(**message)}
        except Exception as error:
            print_traceback()
            answer = {"error": {"type": type(error).__name__, "message": str(error), "pid": os.getpid()}}
        lines.send(answer)
        if operation == "shutdown":
            break
    return engine
