"""The studies' exact claims, on the tiny model: a study that no longer runs is found here, not on somebody's GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 540


@pytest.mark.long
def test_the_quick_ones_pass_and_tell_what_they_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/studies", "-m", "quick", "--vllmperf", "-p", "no:cacheprovider"]
    apart = ["--vllmperf-scorecards", str(tmp_path), "--vllmperf-baselines", str(tmp_path)]
    done = subprocess.run(
        [*command, *apart],
        cwd=ROOT,
        env={**os.environ, "VLLMPERF_STUDY_QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout[-4000:] + done.stderr[-1000:]
    for told in ("a KV cache that holds 16 requests", "by formula", "useful %", "a shared prompt of 512 tokens"):
        assert told in done.stdout
    assert " skipped" not in done.stdout
