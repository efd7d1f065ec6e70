"""What processes below an engine inherit: its end, and none of its pipes. In an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vllmperf.engines import forkserver
from tests.engines.conftest import wait_until_gone

FOLDER = Path(forkserver.__file__).parent / "child"
PREAMBLE = f"""
import os, sys, time
sys.path.append({str(FOLDER)!r})
import vllmperf_process
lines = vllmperf_process.Lines(*os.pipe())
inside = (lines._incoming.fileno(), lines._write_fd)
lines.close_in_descendants()
"""

GENERATIONS = (
    PREAMBLE
    + """
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

read, write = os.pipe()
core = os.fork()
if core == 0:  # as vLLM's EngineCore, which forks its workers
    os.write(write, b"core:%d " % any(map(is_open, inside)))
    reused = os.pipe()
    assert set(reused) == set(inside), "the test needs the numbers to be used again"
    worker = os.fork()
    if worker == 0:
        os.write(write, b"worker:%d " % all(map(is_open, inside)))
        os._exit(7)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
code = os.waitstatus_to_exitcode(os.waitpid(core, 0)[1])
print(os.read(read, 100).decode() + f"code:{code}")
"""
)

ENDING = (
    PREAMBLE
    + """
read, write = os.pipe()
core = os.fork()
if core == 0:
    worker = os.fork()
    if worker == 0:
        os.write(write, b"%d" % os.getpid())
        time.sleep(600)
        os._exit(0)
    time.sleep(600)
    os._exit(0)
print(core, int(os.read(read, 100)), flush=True)
ENDS
"""
)


def output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_processes_of_the_second_generation_live_and_keep_their_files() -> None:
    assert output(GENERATIONS) == "core:0 worker:1 code:7\n"


@pytest.mark.parametrize("ends", ["os._exit(0)", "os.kill(core, 9); os.waitpid(core, 0)"])
def test_each_generation_ends_with_the_one_before(ends: str) -> None:
    for pid in map(int, output(ENDING.replace("ENDS", ends)).split()):
        wait_until_gone(pid)


IN_THREAD = (
    PREAMBLE
    + """
import signal, threading
forked = []

def helper():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    forked.append(pid)

thread = threading.Thread(target=helper)
thread.start()
thread.join()
time.sleep(0.3)  # a signal for the thread's end would have come by now
print(os.waitpid(forked[0], os.WNOHANG)[0])
os.kill(forked[0], signal.SIGKILL)
"""
)


def test_what_a_thread_forks_outlives_the_thread() -> None:
    assert output(IN_THREAD) == "0\n"
