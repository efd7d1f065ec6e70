"""A signal in each phase of a run, once and twice, alone and under xdist: no process and no partial file is left."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from pytest_vllmperf.engines.folders import sweep
from tests.reliability.conftest import Start
from tests.reliability.runs import baselines, suite

INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL
PHASES = {
    "import": "importing vLLM",
    "load": "starting",
    "warm-up": "warm-up",
    "iteration": "iteration 3",
    "second-engine": "engine start 2",
}
SIGNALS = {
    "int": [INT],
    "term": [TERM],
    "hup": [HUP],
    "kill": [KILL],
    "int-int": [INT, INT],
    "term-term": [TERM, TERM],
    "int-kill": [INT, KILL],
}
SHORT = {("import", "kill"), ("load", "term-term"), ("iteration", "kill")}
CASES = [
    pytest.param(phase, name, id=f"{phase}-{name}", marks=[] if (phase, name) in SHORT else [pytest.mark.long])
    for phase in PHASES
    for name in SIGNALS
]


def end_by_signals(start: Start, folder: Path, phase: str, name: str, *arguments: str) -> None:
    (folder / "test_tiny.py").write_text(suite(tokens=300, iterations=40))
    run = start("--vllmperf-update", *arguments)
    run.reach(PHASES[phase])
    for number in SIGNALS[name]:
        run.send(number)
        time.sleep(0.3)
    status = run.wait(60)
    assert run.left() == []
    assert baselines(folder) == {}
    if KILL in SIGNALS[name]:
        return
    if arguments and name == "int-int":  # xdist gives its workers a second to end then, and kills them
        sweep(run.tmp, "vllmperf-")  # as the next run does
    assert run.temporary() == []
    assert status != 0
    # A second Ctrl-C while pytest reports the first is an exception in pytest itself.
    for word in ("INTERNALERROR", "Segmentation", *([] if name == "int-int" else ["Traceback"])):
        assert word not in run.output
    if name in ("int", "term", "hup"):
        assert "nothing was recorded because the run did not finish" in run.output


@pytest.mark.parametrize(("phase", "name"), CASES)
def test_alone(start: Start, tmp_path: Path, phase: str, name: str) -> None:
    end_by_signals(start, tmp_path, phase, name)


@pytest.mark.long
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("phase", PHASES)
def test_under_xdist(start: Start, tmp_path: Path, phase: str, name: str) -> None:
    end_by_signals(start, tmp_path, phase, name, "-n", "1")
