"""Sweeps on a local Ray instance: a worker that is killed, and Ctrl-C."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.lab import leases
from tests.sweep.test_ray import ROOT, STUDY, figures

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For temporary files of the sweep, with a name that is short enough for Ray's sockets."""
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    with tempfile.TemporaryDirectory(prefix="vt-", dir="/tmp") as made:
        monkeypatch.setenv("TMPDIR", made)
        monkeypatch.setattr(tempfile, "tempdir", made)
        yield Path(made)


@pytest.fixture
def study(tmp_path: Path, folder: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


def points(results: Path) -> int:
    return len(json.loads(results.read_text())["points"]) if results.exists() else 0


def workers(of: int) -> list[psutil.Process]:
    """The processes in which Ray runs workers of a sweep."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            name = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if name.startswith("ray::Worker"):
            found.append(process)
    return found


def when(enough: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Do something once, in a thread."""

    def wait() -> None:
        while not enough():
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_worker_that_is_killed_is_replaced_and_the_results_are_those_of_a_serial_sweep(
    study: Path, folder: Path, capsys: Capture
) -> None:
    results = study.with_name("study.results.json")
    modes: list[int] = []

    def kill() -> None:
        modes.extend(stat.S_IMODE(one.stat().st_mode) for one in folder.glob("vr-*"))
        workers(os.getpid())[0].kill()

    killer = when(lambda: points(results) >= 3, kill)
    assert cli.main(["sweep", str(study), "--ray", "--workers", "2"]) == 0
    killer.join(10)
    told = capsys.readouterr().err.splitlines()
    assert modes == [0o700]  # Ray opens its own folder to all users
    assert [line for line in told if ": lost: " in line]
    assert told[-1] == "24 of 24 points"
    assert list(folder.iterdir()) == []
    study.write_text(STUDY.replace("pace = 0.05", "pace = 0"), encoding="utf-8")
    assert cli.main(["sweep", str(study), "--results", str(study.with_name("serial.json"))]) == 0
    assert figures(results) == figures(study.with_name("serial.json"))


@pytest.mark.long
@pytest.mark.parametrize("whole_group", [False, True])
def test_ctrl_c_leaves_nothing_but_the_finished_points(
    study: Path, folder: Path, whole_group: bool, capsys: Capture
) -> None:
    study.write_text(STUDY.replace("pace = 0.05", "pace = 1"), encoding="utf-8")
    results = study.with_name("study.results.json")
    code = "import sys; from pytest_vllmperf import cli; sys.exit(cli.main(sys.argv[1:]))"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "sweep", str(study), "--ray", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *filter(None, sys.path)])},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while points(results) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    family = psutil.Process(running.pid).children(recursive=True)
    assert len(workers(running.pid)) == 2
    (os.killpg if whole_group else os.kill)(running.pid, signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told.decode().splitlines()[-1] == "vllmperf: interrupted"
    assert psutil.wait_procs(family, 10)[1] == []
    assert list(folder.iterdir()) == []
    done = points(results)
    assert 2 <= done < 24
    assert cli.main(["sweep", str(study), "--show"]) == 0
    assert f"{24 - done} still to measure" in capsys.readouterr().out
