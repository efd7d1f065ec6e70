"""Commands of the user: what they say, and that nothing of them outlives an interrupt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_vllmperf.bisect import commands
from pytest_vllmperf.errors import BisectError


def test_output_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    ended = commands.run("echo out; echo err >&2; exit 3", log)
    assert (ended.code, ended.output, ended.told) == (3, "out\n", "err\n")
    assert log.read_text() == "before\nerr\nout\n"


def test_last_lines_come_from_standard_error_or_else_from_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert commands.run("echo a; for n in 1 2 3 4; do echo $n >&2; done", log).last_lines == "2 / 3 / 4"
    assert commands.run("echo a", log).last_lines == "a"
    assert commands.run("true", log).last_lines == "it said nothing"


def test_a_program_writes_into_the_log_at_once_and_reads_no_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import sys; print('here'); sys.exit(sys.stdin.read() != '')"
    ended = commands.run([sys.executable, "-c", code], log)
    assert (ended.code, ended.output, ended.told) == (0, "", "here\n")


def test_the_folder(tmp_path: Path) -> None:
    assert commands.run("pwd", tmp_path / "log", folder=tmp_path).output.strip() == os.path.realpath(tmp_path)


def test_bytes_that_are_no_text_are_shown_somehow(tmp_path: Path) -> None:
    assert "\ufffd" in commands.run(r"printf '\377'", tmp_path / "log").output


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BisectError, match="/nowhere/program: cannot be started: No such file or directory"):
        commands.run(["/nowhere/program"], tmp_path / "log")


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BisectError, match=r"/no/log: cannot be written: No such file or directory"):
        commands.run("true", tmp_path / "no" / "log")


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(BisectError, match=r"/dev/full: cannot be written: (No space left|Illegal seek|Invalid)"):
        commands.run("echo out", Path("/dev/full"))


SCRIPT = """
import sys
from pathlib import Path
from pytest_vllmperf.bisect import commands
with commands.interruptible():
    commands.run(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_signal_ends_the_command_and_all_that_it_started(
    tmp_path: Path, number: signal.Signals, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that ignores the interrupt is killed by the second one."""
    pids, log = tmp_path / "pids", tmp_path / "log"
    trap = "trap '' INT TERM; " if stubborn else ""
    command = f"{trap}sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait; wait"
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, command, str(log)], stderr=subprocess.PIPE)
    try:
        while not pids.exists():
            assert child.poll() is None, child.stderr.read() if child.stderr else b""
            time.sleep(0.01)
        child.send_signal(number)
        if stubborn:
            time.sleep(0.3)  # it waits now for the command to end
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)
    finally:
        child.kill()
    assert b"KeyboardInterrupt" in told
    for pid in map(int, pids.read_text().split()):
        assert gone(pid)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_command_does_not_outlive_a_process_that_is_killed(tmp_path: Path, stubborn: bool) -> None:
    """No handler sees SIGKILL, and the command has a session of its own; one that ignores SIGTERM is killed, too."""
    pids = tmp_path / "pids"
    trap = "trap '' TERM; " if stubborn else ""
    script = SCRIPT.replace("with ", "commands._END_S = 1.0\nwith ", 1)  # else it has two minutes
    command = f"{trap}sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    child = subprocess.Popen([sys.executable, "-c", script, command, str(tmp_path / "log")])
    try:
        while not pids.exists() or len(psutil.Process(child.pid).children()) < 2:  # the command, and what watches
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    for pid in map(int, pids.read_text().split()):
        assert gone(pid)


def test_what_a_command_has_left_running_is_its_own_affair(tmp_path: Path) -> None:
    """A command that ends by itself is not ended with all that it started: a cache server may go on."""
    ended = commands.run("sleep 600 > /dev/null 2>&1 & echo $!", tmp_path / "log")
    pid = int(ended.output)
    try:
        time.sleep(0.3)
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_command_is_started_ends_it_too(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Slow(subprocess.Popen[bytes]):
        """The signal comes after the command runs, and before anybody knows of it."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            signal.raise_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(KeyboardInterrupt), commands.interruptible():
        commands.run(["sleep", "600"], tmp_path / "log")
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert gone(started[0])


def gone(pid: int) -> bool:
    """Whether a process has ended, or ends within a while; one that nobody has waited for counts."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False
