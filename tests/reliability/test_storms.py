"""A process killed while it starts ten engines, and many engines one after another: nothing is left, nothing grows."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import EngineSpec
from tests.measuring import TINY
from tests.reliability.conftest import Start
from tests.temporary import left

STARTS = int(os.environ.get("VLLMPERF_FAULT_STARTS") or 200)
MIB = 2**20

TEN = """
import os, threading
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import EngineSpec

def test_ten(capfd):
    launcher = Launcher(Timeouts(start=600))
    def start(number):
        def progress(doing, waited):
            with open(os.environ["VLLMPERF_FAULT_PHASES"], "a") as file:
                file.write(f"0 {{os.getpid()}} {{number}} {{doing}}\\n")
        launcher.start(EngineSpec.create("vllmperf:tiny", seed=number, **{tiny!r}), {{}}, progress)
    start(0)
    threads = [threading.Thread(target=start, args=[number]) for number in range(1, 11)]
    for thread in threads:
        thread.start()
    with open(os.environ["VLLMPERF_FAULT_PHASES"], "a") as file:
        file.write("0 0 ten are starting\\n")
    for thread in threads:
        thread.join()
    with open(os.environ["VLLMPERF_FAULT_PHASES"], "a") as file:
        file.write("0 0 ten are up\\n")
    threading.Event().wait()
"""


@pytest.mark.long
@pytest.mark.parametrize("after", [0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, None])
def test_killed_while_ten_engines_are_being_started(start: Start, tmp_path: Path, after: float | None) -> None:
    (tmp_path / "test_ten.py").write_text(TEN.format(tiny=TINY))
    run = start("-s")
    run.reach("ten are starting")
    if after is None:
        run.reach("ten are up")
    else:
        deadline = time.monotonic() + after
        while time.monotonic() < deadline:
            run.note_processes()
            time.sleep(0.05)
    run.send(signal.SIGKILL)
    run.wait(30)
    assert run.left() == []


@pytest.mark.long
def test_many_starts_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: object
) -> None:
    """Memory and descriptors of this process, and the folder for temporary files, from the tenth start on."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    own = psutil.Process()
    seen = []
    launcher = Launcher(Timeouts(start=600, operation=300))
    for number in range(STARTS):
        engine = launcher.start(EngineSpec.create("vllmperf:tiny", seed=number, **TINY), {}, lambda doing, waited: None)
        engine.close()
        size = sum(path.lstat().st_size for path in tmp_path.rglob("*") if path.is_file())
        seen.append((own.memory_info().rss / MIB, own.num_fds(), len(own.children(recursive=True)), size / MIB))
        (tmp_path.parent / "soak.csv").write_text("\n".join(",".join(f"{one:.2f}" for one in row) for row in seen))
    launcher.close()
    assert len(seen) > 10
    (rss, descriptors, processes, _), last = seen[9], seen[-1]
    assert last[0] - rss < 10
    assert last[1:3] == (descriptors, processes)
    assert last[3] < 5
    assert left(tmp_path) == []
