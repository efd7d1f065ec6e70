"""The system's clock is set back by an hour while engines are measured."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.reliability.conftest import Start
from tests.reliability.runs import baselines, suite

# Imported by every Python below the run, vLLM's own processes too: the clock of the day as a file says.
CLOCK = """
import os, time

real = time.time

def shifted():
    with open(os.environ["FAULT_CLOCK"]) as file:
        return real() + float(file.read() or 0)

time.time, time.time_ns = shifted, lambda: int(shifted() * 1e9)
"""


@pytest.mark.long
def test_an_hour_back_changes_no_duration(start: Start, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    faked = {"FAULT_CLOCK": str(offset), "PYTHONPATH": path}
    (tmp_path / "test_tiny.py").write_text(suite(tokens=100, iterations=20))
    run = start("--vllmperf-update", env=faked)
    run.reach("iteration 5")
    offset.write_text("-3600")
    assert run.wait(300) == 0, run.output
    (content,) = baselines(tmp_path).values()
    (entry,) = json.loads(content)["tests"].values()
    values = [value for engine in entry["sessions"][0]["engines"] for value in flat(engine)]
    assert values
    assert all(-1 < value < 3e9 for value in values if isinstance(value, float))
    seconds = [value for engine in entry["sessions"][0]["engines"] for value in flat(engine.get("load_time", {}))]
    assert all(0 <= value < 1000 for value in seconds)
    again = start("--vllmperf", "--vllmperf-max-engines", "1", env=faked)
    assert again.wait(300) in (0, 1), again.output
    assert "Traceback" not in again.output


def flat(value: object) -> list[object]:
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        return [one for item in value.values() for one in flat(item)]
    if isinstance(value, list):
        return [one for item in value for one in flat(item)]
    return [value]
