"""A disk that is full, for each writer: a small file system of its own, mounted where the writer writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.conftest import Start
from tests.reliability.runs import baselines, sessions, suite

COMMAND = "import sys; from pytest_vllmperf.cli import main; sys.exit(main())"
MOUNTED = """
set -e
mkdir -p "$1"
mount -t tmpfs -o size="$2" none "$1"
[ -z "$3" ] || dd if=/dev/zero of="$1/filler" bs=1024 count="$3" status=none || true
shift 3
exec "$@"
"""


def full(folder: Path, size: str, filler: str = "") -> list[str]:
    """A command that what follows is started with: in a mount namespace where a folder lies on a disk of that size.

    Args:
        folder: where it is mounted.
        size: as `mount` takes it.
        filler: kilobytes that are written into it; empty for none.
    """
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh", str(folder), size, filler]


@pytest.mark.long
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_no_room_for_a_baseline(start: Start, tmp_path: Path, workers: list[str]) -> None:
    """What was measured goes into a rescue file, which can be put back."""
    (tmp_path / "test_tiny.py").write_text(suite(tests=2))
    run = start("--vllmperf-update", *workers, prefix=full(tmp_path / "baselines", "8k", "4"))
    assert run.wait() == pytest.ExitCode.USAGE_ERROR, run.output
    assert "No space left on device" in run.output
    assert "Traceback" not in run.output
    assert baselines(tmp_path) == {}
    (rescued,) = tmp_path.glob("vllmperf-rescue*")
    assert str(rescued.name) in run.output
    command = [sys.executable, "-c", COMMAND, "baseline", "restore", str(rescued)]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert sessions(tmp_path) == 2


@pytest.mark.long
def test_no_room_for_a_scorecard(start: Start, tmp_path: Path) -> None:
    card = suite().replace("@pytest.mark.vllm", '@pytest.mark.scorecard("card", baseline="0")\n@pytest.mark.vllm')
    (tmp_path / "test_tiny.py").write_text(card)
    run = start("--vllmperf-update", "--vllmperf-scorecards", "cards", prefix=full(tmp_path / "cards", "8k", "4"))
    assert run.wait() == pytest.ExitCode.USAGE_ERROR, run.output
    assert "the scorecard could not be written" in run.output
    assert "Traceback" not in run.output
    assert sessions(tmp_path) == 1


@pytest.mark.long
@pytest.mark.parametrize("kilobytes", [0, 4, 8, 12, 16])
def test_no_room_for_an_engines_log(start: Start, tmp_path: Path, kilobytes: int) -> None:
    """Wherever the room ends: the run measures without it, or says what it lacks."""
    (tmp_path / "test_tiny.py").write_text(suite())
    run = start("--vllmperf-update", prefix=full(tmp_path / "tmp", "16k", str(kilobytes)))
    status = run.wait()
    assert status == 0 or (status == pytest.ExitCode.TESTS_FAILED and "No space left on device" in run.output), (
        run.output
    )
    assert "INTERNALERROR" not in run.output  # a traceback in the end of the engine's log is the engine's
    assert run.left() == []


@pytest.mark.long
def test_no_room_for_a_model(start: Start, tmp_path: Path) -> None:
    (tmp_path / "test_tiny.py").write_text(suite())
    cache = tmp_path / "cache"
    run = start("--vllmperf-update", env={"VLLMPERF_CACHE": str(cache)}, prefix=full(cache, "1m"))
    assert run.wait() == pytest.ExitCode.TESTS_FAILED, run.output
    assert "the model could not be written: No space left on device" in run.output
    assert "Traceback" not in run.output


@pytest.mark.long
def test_no_room_anywhere_for_what_was_measured(start: Start, tmp_path: Path) -> None:
    """The run says that nothing could be kept, and fails."""
    (tmp_path / "test_tiny.py").write_text(suite())
    (tmp_path / "filling.py").write_text(FILLS)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    # Through a pipe: the report itself must not lie on the disk that is full.
    piped = ["bash", "-c", 'set -o pipefail; "$@" 2>&1 | cat', "bash"]
    run = start("--vllmperf-update", "-p", "filling", env={"PYTHONPATH": path}, prefix=piped)
    assert run.wait() == pytest.ExitCode.USAGE_ERROR, run.output
    assert "ERROR: " in run.output
    assert "Traceback" not in run.output
    assert baselines(tmp_path) == {}


FILLS = """
import resource
import pytest

@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
"""
