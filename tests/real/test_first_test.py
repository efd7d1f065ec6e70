"""What `vllmperf doctor` calls ready and `vllmperf init` writes runs on the CPU build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pytest_vllmperf import cli
from pytest_vllmperf.cli import init

# As few iterations as there can be: whether it runs is the question.
SHORT = ("--vllmperf-iterations=1", "--vllmperf-warmup=0", "-p", "no:cacheprovider")


def test_the_written_test_runs_and_records(tmp_path: Path) -> None:
    assert cli.main(["doctor", "--offline"]) == 0
    assert cli.main(["init", str(tmp_path), "--device=cpu"]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--vllmperf-update", init.TEST, *SHORT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (baseline,) = (tmp_path / "baselines").rglob("*.json")
    assert json.loads(baseline.read_text(encoding="utf-8"))["tests"]["test_chat"]["judging"]["gate"]
