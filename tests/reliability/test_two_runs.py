"""Two runs that want the same device and the same baselines for as long as one cares to look."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.reliability.conftest import Start
from tests.reliability.runs import Run, sessions, suite

MINUTES = float(os.environ.get("VLLMPERF_FAULT_MINUTES") or 30)


def measured(run: Run) -> list[tuple[float, float]]:
    """From when to when it measured, by its clock, which both runs share."""
    times = [float(line.split()[0]) for line in run.phases_file.read_text().splitlines() if "iteration" in line]
    return [(times[0], times[-1])] if times else []


@pytest.mark.long
def test_two_runs_measure_in_turns_and_lose_no_session(start: Start, tmp_path: Path) -> None:
    """Each appends to the same baseline file. At any time at most one of them measures."""
    shared = {"VLLMPERF_LOCKS": str(tmp_path / "locks")}
    (tmp_path / "baselines").mkdir()
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
        (home / "baselines").symlink_to(tmp_path / "baselines")
        (home / "test_tiny.py").write_text(suite())
    first = start("--vllmperf-update", folder=homes[0], env=shared)
    assert first.wait(300) == 0, first.output
    until, rounds, appended = time.monotonic() + 60 * MINUTES, 0, 1
    while time.monotonic() < until:
        runs = [
            start("--vllmperf-append", "--vllmperf-margin=900%", "--vllmperf-engines=3", folder=home, env=shared)
            for home in homes
        ]
        for run in runs:
            assert run.wait(600) == 0, run.output
            assert run.left() == []
            assert "Traceback" not in run.output
        spans = sorted(span for run in runs for span in measured(run))
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        rounds += 1
        appended += sum("appended" in run.output for run in runs)
        assert sessions(tmp_path) == min(20, appended), [run.output for run in runs]
    assert rounds > 0
