"""A bisection over releases of real vLLM: the environment's own, in which one changes the scheduler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf.lab import leases
from tests.interpreters import interpreter
from tests.measuring import SERVER_PROCESS

from .conftest import MODEL, TINY

MODULE = f"""
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=8, input_tokens=32, output_tokens=8)

@pytest.mark.vllm({MODEL!r}, **{TINY!r})
@pytest.mark.vllmperf(warmup=1, iterations=2)
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
"""
QUARTER = """

_made = Scheduler.__init__


def _quarter(self, *args, **kwargs):
    _made(self, *args, **kwargs)
    self.max_num_running_reqs = self.max_num_active_reqs = self.max_num_running_reqs // 4


Scheduler.__init__ = _quarter
"""
COMMAND = "import sys; from pytest_vllmperf.cli import main; sys.exit(main())"


def release(folder: Path, version: str, more: str = "") -> None:
    """An environment with this one's packages, and a vLLM of its own whose scheduler has `more` code."""
    python = Path(interpreter(folder, ""))
    site = next((python.parents[1] / "lib").glob("python*")) / "site-packages"
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    real = Path(found.origin).parent
    (site / "real.pth").write_text(f"{real.parent}\n")
    shutil.copytree(real, site / "vllm", copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in (
        ("_version.py", f"__version__ = version = {version!r}\n__version_tuple__ = version_tuple = (1, 0)\n"),
        ("v1/core/sched/scheduler.py", (real / "v1/core/sched/scheduler.py").read_text() + more),
    ):
        (site / "vllm" / name).unlink()
        (site / "vllm" / name).write_text(text)


def with_engines(search: psutil.Process) -> list[psutil.Process]:
    """All that a search has started, as soon as the process of its engines is there."""
    while True:
        assert search.is_running()
        below = search.children(recursive=True)
        with suppress(psutil.NoSuchProcess):
            if any(SERVER_PROCESS in " ".join(one.cmdline()) for one in below):
                return below
        time.sleep(0.05)


@pytest.mark.long
def test_the_first_bad_release_is_found_after_the_search_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight requests at a time, two from 1.2 on: four times as many engine steps, an exact metric."""
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    for version in ("1.0", "1.1", "1.2"):
        release(tmp_path / "envs" / version, version, QUARTER if version == "1.2" else "")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_a.py").write_text(MODULE)
    given = ["test_a.py::test_chat", "--good", "1.0", "--bad", "1.2", "--versions", "1.1"]
    command = [sys.executable, "-c", COMMAND, "bisect", *given, "--python", f"{tmp_path}/envs/{{version}}/bin/python"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr is not None
        assert any("1.1: measuring" in line for line in killed.stderr)
        below = with_engines(psutil.Process(killed.pid))
        killed.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(below, timeout=60)
    assert alive == []
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1.2: measuring in turns with 1.0" not in done.stderr, "that is known already"
    lines = done.stdout.splitlines()
    assert lines[0] == "test_a.py::test_chat: the first bad version is 1.2"
    assert lines[1] == "1.2 against 1.1, the last good one: engine steps +300.0 %, 8 -> 32"
    assert [line.split()[:3] for line in lines if line.endswith(" 1")] == [
        ["1.1", "good", "+0.0"],
        ["1.2", "bad", "+300.0"],
    ]
    assert lines[-1] == "no kernel table: the engine runs on a CPU"
