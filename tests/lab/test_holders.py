"""Who holds a lease."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pytest_vllmperf.lab import holders
from pytest_vllmperf.lab.holders import Holder
from pytest_vllmperf.lab.leases import CPU, Leases

HOLD = """
import sys
from pathlib import Path
from pytest_vllmperf.lab.leases import Leases
held = Leases(Path(sys.argv[1]))
held.take(["GPU-1"], 1)
print("held", flush=True)
sys.stdin.read()
"""


def test_nobody_holds_what_was_given_back(tmp_path: Path) -> None:
    assert holders.holders(tmp_path / "nowhere") == []
    leases = Leases(tmp_path)
    leases.take([CPU], 1)
    assert [one.device for one in holders.holders(tmp_path)] == [CPU]
    leases.release()
    assert holders.holders(tmp_path) == []
    assert leases.take([CPU], 1) == (CPU,)  # looking left no lock
    leases.release()


def test_another_process_is_told_with_its_command_but_no_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), "--api_key=abcdefgh12345"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        (one,) = holders.holders(tmp_path)
        process.communicate("")
    assert (one.device, one.pid) == ("GPU-1", process.pid)
    assert one.command.startswith(sys.executable)
    assert holders.holders(tmp_path) == []
    assert one.by.startswith(f"process {process.pid} of {one.user}: ")


def test_the_command_line_shows_no_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "--api_key=abcdefgh12345"]
    file = tmp_path / "vllmperf-device-cpu.lock"
    file.touch()
    with file.open() as opened, subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[opened.fileno()]) as process:
        found = holders._owners([file])
        shown = holders._holder(file, holders.psutil.Process(process.pid))
        process.communicate(b"")
    assert found[file].pid in (os.getpid(), process.pid)
    assert "--api_key=***" in shown.command
    assert "abcdefgh12345" not in shown.command


def test_what_may_not_be_known_is_said_so() -> None:
    assert Holder("cpu").by == "a process of another user or container"
