"""A run of pytest: what it is given, and what is made of one that leaves no report."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_vllmperf.bisect import commands
from pytest_vllmperf.bisect.commands import Ended
from pytest_vllmperf.bisect.trial import Trial
from pytest_vllmperf.engines.interpreter import Interpreter
from pytest_vllmperf.records.bisect import Judgement
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.storage import runs

from .test_judging import check, metric, run

GOOD = Interpreter("/envs/0.31.0/bin/python", "/envs/0.31.0/vllm", "0.31.0")
NEW = Interpreter("/envs/0.32.0/bin/python", "/envs/0.32.0/vllm", "0.32.0")


class Pytest:
    """Stands for pytest: writes a report, or does not."""

    def __init__(self, ended: Ended, *reports: object) -> None:
        self.ended = ended
        self.reports = list(reports)
        self.command: list[str] = []

    def __call__(self, command: list[str], log: Path) -> Ended:
        self.command = command
        (file,) = [one.partition("=")[2] for one in command if one.startswith("--vllmperf-json=")]
        for report in self.reports:
            if isinstance(report, str):
                Path(file).write_text(report)
            else:
                runs.write(Path(file), report)  # type: ignore[arg-type]
        return self.ended


def started(number: int, report: RunReport) -> RunReport:
    """The same run with this number of engine starts."""
    return report.model_copy(update={"run": report.run.model_copy(update={"engine_starts": number})})


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial("test_a.py::test_a", ("--vllmperf-margin=2%",), None, tmp_path / "log")


def test_what_pytest_is_given(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Pytest(Ended(1, "", ""), started(7, run(check(metric("tpot.p50", Status.REGRESSED)))))
    monkeypatch.setattr(commands, "run", played)
    found = trial.measured(GOOD, NEW, None)
    assert (found.judgement, found.seconds > 0, found.engine_starts) == (Judgement.BAD, True, 7)
    assert played.command[:5] == [sys.executable, "-m", "pytest", "test_a.py::test_a", "--vllmperf"]
    assert played.command[5:7] == [
        "--vllmperf-against=/envs/0.31.0/bin/python",
        "--vllmperf-python=/envs/0.32.0/bin/python",
    ]
    assert played.command[8:] == ["--vllmperf-github=off", "--vllmperf-margin=2%"]


def test_a_metric_that_is_asked_for_is_gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Pytest(Ended(0, "", ""), run(check(metric("tpot.p50", Status.OK))))
    monkeypatch.setattr(commands, "run", played)
    trial = Trial("test_a.py::test_a", ("--vllmperf-gate=mine",), "tpot.p50", tmp_path / "log")
    assert trial.measured(GOOD, NEW, None).judgement is Judgement.GOOD
    assert played.command[8:] == ["--vllmperf-github=off", "--vllmperf-gate=tpot.p50", "--vllmperf-gate=mine"]


@pytest.mark.parametrize(
    ("ended", "reports", "reason"),
    [
        (
            Ended(4, "", "x\nERROR: no such option\ny"),
            (),
            "pytest ended with 4 and left no report: ERROR: no such option",
        ),
        (Ended(-9, "", "Killed"), (), "pytest ended with -9 and left no report: Killed"),
        (Ended(0, "", "passed"), ("{",), "pytest ended with 0 and left no report: passed"),
        (
            Ended(0, "", "1 passed\nWARNING: --vllmperf-json: run.json: not written: No space left on device\n"),
            (),
            "WARNING: --vllmperf-json: run.json: not written: No space left on device",
        ),
        (Ended(5, "", ""), (run(tests=0),), "pytest ended with 5 before a test was run: it said nothing"),
        (Ended(0, "", ""), (run(tests=0),), "is no performance test"),
    ],
)
def test_a_run_without_a_report_is_never_good(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, ended: Ended, reports: tuple[object, ...], reason: str
) -> None:
    monkeypatch.setattr(commands, "run", Pytest(ended, *reports))
    found = trial.measured(GOOD, NEW, None)
    assert found.judgement is Judgement.UNJUDGED
    assert found.engine_starts is None
    assert reason in found.reason
