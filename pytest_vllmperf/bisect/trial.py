"""Runs the test on one interpreter's vLLM in turns with another's, and reads the verdict from the file of the run."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_vllmperf.bisect import commands, judging
from pytest_vllmperf.bisect.commands import Ended
from pytest_vllmperf.engines.interpreter import Interpreter
from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.records.bisect import Attempt, Followed, Judgement
from pytest_vllmperf.storage import runs


@dataclass(frozen=True)
class Trial:
    """The test, and how it is run.

    Attributes:
        test: its node id.
        arguments: more arguments of pytest.
        metric: the only metric that counts, and that is gated unless a marker says otherwise; None for any gated one.
        log: a file that everything pytest says is added to.
    """

    test: str
    arguments: Sequence[str]
    metric: str | None
    log: Path

    def measured(self, reference: Interpreter, version: Interpreter, followed: Followed | None) -> Attempt:
        """Run the test once.

        Args:
            reference: the vLLM that is known to be good.
            version: the vLLM that is judged.
            followed: the metric of the search; None where no run has regressed yet.

        Raises:
            BisectError: where the test's name selects several, or pytest cannot be started.
        """
        began = time.monotonic()
        asked = judging.Asked(self.test, reference.name, self.metric, followed)
        with tempfile.TemporaryDirectory(prefix="vllmperf-bisect-") as folder:
            file = Path(folder) / "run.json"
            ended = commands.run(self._command(reference, version, file), self.log)
            attempt = _judged(file, asked, ended)
        return attempt.model_copy(update={"seconds": time.monotonic() - began})

    def _command(self, reference: Interpreter, version: Interpreter, file: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "pytest", self.test, "--vllmperf"),
            f"--vllmperf-against={reference.python}",
            f"--vllmperf-python={version.python}",
            f"--vllmperf-json={file}",
            "--vllmperf-github=off",  # a job's summary is for what the job found, not for each step of a search
            *([f"--vllmperf-gate={self.metric}"] if self.metric is not None else []),
            *self.arguments,
        ]


def _judged(file: Path, asked: judging.Asked, ended: Ended) -> Attempt:
    """What the run says; one that has left no file says nothing."""
    try:
        report = runs.load(file)
    except ReportError:
        return _silent(f"pytest ended with {ended.code} and left no report: {_error(ended)}")
    if ended.code and not report.tests:
        return _silent(f"pytest ended with {ended.code} before a test was run: {_error(ended)}")
    return judging.judge(report, asked).model_copy(update={"engine_starts": report.run.engine_starts})


def _silent(reason: str) -> Attempt:
    return Attempt(judgement=Judgement.UNJUDGED, reason=reason)


def _error(ended: Ended) -> str:
    """The line of pytest's output that tells an error, for a person; else its last lines."""
    lines = [line for line in ended.told.splitlines() if line.startswith(("ERROR", "WARNING: --vllmperf-json"))]
    return " ".join(lines[0].split()) if lines else ended.last_lines
