"""However a run ends, its engines end within five seconds, and no baseline file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import TINY

GONE_WITHIN_S = 5
TEST = f"""
import pytest
from pytest_vllmperf import Workload

@pytest.mark.vllm("vllmperf:tiny", **{TINY!r})
def test_long(vllmperf):
    run = vllmperf.measure(Workload.synthetic(requests=64, input_tokens=64, output_tokens=400), iterations=30)
    vllmperf.check(run)
"""


# A shell starts what runs in its background with Ctrl-C ignored, and so would everything below it.
RUN = """
import signal, sys
import pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.console_main())
"""


@pytest.fixture
def pytest_run(tmp_path: Path) -> Iterator[Callable[[], psutil.Process]]:
    """Start `pytest --vllmperf-update` on a test that would measure for an hour."""
    (tmp_path / "test_long.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    started: list[subprocess.Popen[bytes]] = []

    def start() -> psutil.Process:
        command = [sys.executable, "-c", RUN, "--vllmperf-update", "-p", "no:cacheprovider"]
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        log = (tmp_path / "output").open("wb")
        started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=env))
        log.close()
        return psutil.Process(started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(found: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def descendants(process: psutil.Process, count: int) -> list[psutil.Process]:
    """The server process, and with count=2 the engine that it forked."""
    wait_for(lambda: len(process.children(recursive=True)) >= count, 300, f"{count} child processes")
    return process.children(recursive=True)


def is_measuring(engine: psutil.Process, folder: Path) -> Callable[[], bool]:
    """Whether the engine has said that it is up."""
    return lambda: any("took" in log.read_text(errors="replace") for log in folder.glob("vllmperf-*/engine-*.log"))


def end(process: psutil.Process, how: signal.Signals, processes: list[psutil.Process]) -> None:
    process.send_signal(how)
    _, alive = psutil.wait_procs(processes, timeout=GONE_WITHIN_S)
    assert not alive


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_during_the_import(pytest_run: Callable[[], psutil.Process], tmp_path: Path, how: signal.Signals) -> None:
    process = pytest_run()
    end(process, how, descendants(process, 1))
    assert not (tmp_path / "baselines").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_during_a_run(pytest_run: Callable[[], psutil.Process], tmp_path: Path, how: signal.Signals) -> None:
    process = pytest_run()
    processes = descendants(process, 2)
    wait_for(is_measuring(processes[-1], tmp_path), 120, "an engine that is up")
    end(process, how, processes)
    assert not (tmp_path / "baselines").exists()
    if how is not signal.SIGKILL:
        assert process.wait(30) == pytest.ExitCode.INTERRUPTED
        assert not list(tmp_path.glob("v*"))  # nothing is left in TMPDIR
        output = (tmp_path / "output").read_text()
        assert "nothing was recorded: the run did not come to its end" in output
        assert "Traceback" not in output
