"""Instructions of an engine's processes. Where a test needs real counters it counts nanoseconds on a CPU instead."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
NAME = "vllmperf_instructions"
WORK_S = 0.05
"""CPU seconds."""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


@pytest.fixture
def clock(script: Any) -> Any:
    found = script.Counter(script.TASK_CLOCK)
    if found.reason:
        pytest.skip(found.reason)
    return found


def work() -> None:
    begun = time.thread_time()
    while time.thread_time() - begun < WORK_S:
        pass


def in_a_thread() -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def in_a_fork() -> None:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    os.waitpid(child, 0)


def in_a_program() -> None:
    code = f"import time\nwhile time.process_time() < {WORK_S}: pass"
    subprocess.run([sys.executable, "-c", code], check=True)


def in_a_fork_of_a_thread() -> None:
    thread = threading.Thread(target=in_a_fork)
    thread.start()
    thread.join()


@pytest.mark.parametrize("somewhere", [work, in_a_thread, in_a_fork, in_a_program, in_a_fork_of_a_thread])
def test_threads_and_processes_that_are_started_later_are_counted(clock: Any, somewhere: Any) -> None:
    before = clock.read()
    somewhere()
    assert clock.since(before) >= WORK_S * 1e9 * 0.99


def test_a_process_that_still_runs_is_counted(clock: Any) -> None:
    before = clock.read()
    ended, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        work()
        os.write(done[1], b"x")
        os.read(ended[0], 1)
        os._exit(0)
    os.read(done[0], 1)
    found = clock.since(before)
    os.write(ended[1], b"x")
    os.waitpid(child, 0)
    for one in (*ended, *done):
        os.close(one)
    assert found >= WORK_S * 1e9 * 0.99


def test_another_process_is_not(clock: Any) -> None:
    """One that this thread did not start: its own counter begins at nothing."""
    other: list[Any] = []
    thread = threading.Thread(target=lambda: other.append(importlib.import_module(NAME).Counter((1, 1))))
    thread.start()
    thread.join()
    work()
    assert other[0].read() < WORK_S * 1e9


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOENT, "this machine has no hardware counters; most virtual machines have none"),
        (errno.EOPNOTSUPP, "this machine has no hardware counters; most virtual machines have none"),
        (errno.EACCES, "the kernel does not let this user count instructions (kernel.perf_event_paranoid is 4)"),
        (errno.EPERM, "the kernel does not let this user count instructions (kernel.perf_event_paranoid is 4)"),
        (errno.ENOSYS, "this kernel does not support performance counters"),
        (errno.EMFILE, "the performance counters cannot be opened: Too many open files"),
    ],
)
def test_why_nothing_is_counted(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, words: str
) -> None:
    def refused(_: object) -> int:
        raise OSError(code, os.strerror(code))

    (tmp_path / "paranoid").write_text("4\n")
    monkeypatch.setattr(script, "_PARANOID", str(tmp_path / "paranoid"))
    monkeypatch.setattr(script, "_opened", refused)
    counter = script.Counter()
    assert (counter.reason, counter.read(), counter.since(None)) == (words, None, None)
    assert counter.unmeasured() == {"cpu_instructions": words}


def test_a_level_that_cannot_be_read_is_unknown(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_PARANOID", "/nowhere")
    assert script._words(PermissionError(errno.EPERM, "no")).endswith("(kernel.perf_event_paranoid is unknown)")


def test_an_event_that_the_kernel_does_not_know_is_refused(script: Any) -> None:
    assert script.Counter((1, 999)).reason


def test_a_processor_whose_call_is_unknown_has_none(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.platform, "machine", lambda: "vax")
    assert script.Counter().reason == "this kernel does not support performance counters"


def test_nothing_is_counted_where_nobody_asked(script: Any) -> None:
    counter = script.Counter(None)
    assert (counter.reason, counter.read(), counter.since(1.0), counter.unmeasured()) == ("", None, None, {})


@pytest.mark.parametrize(
    ("values", "told"), [((900, 10, 10), 900.0), ((900, 10, 5), 1800.0), ((0, 0, 0), 0.0), ((0, 10, 0), 0.0)]
)
def test_a_counter_that_others_used_for_a_time_is_estimated(
    script: Any, values: tuple[int, int, int], told: float
) -> None:
    reading, writing = os.pipe()
    os.write(writing, script._VALUES.pack(*values))
    counter = script.Counter(None)
    counter._fd = reading
    assert counter.read() == told
    os.close(reading)
    os.close(writing)
