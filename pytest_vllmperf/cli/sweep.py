"""`vllmperf sweep`: measure the points of a TOML file, and say what they came to."""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.sweep import Findings
from pytest_vllmperf.report import sweeps as report
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.sweep import cluster
from pytest_vllmperf.sweep import study as studies
from pytest_vllmperf.sweep.findings import findings
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.parallel import Listeners, ParallelRunner
from pytest_vllmperf.sweep.results import Results, opened
from pytest_vllmperf.sweep.runner import Progress, Runner
from pytest_vllmperf.sweep.study import Study

_QUIET_S = 10.0
_REPEAT_S = 60.0


class Line:
    """A line that says how far the sweep is: rewritten in place on a terminal; elsewhere one a point.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._text = ""
        self._told: dict[str, float] = {}

    def points(self, now: Progress) -> None:
        """Say how many points are done, and what is measured now."""
        self._text = report.progress(now.done, now.total, now.failed, now.left, now.doing)
        self._show(self._text)

    def engine(self, doing: str, waited: float) -> None:
        """Say what the engine does; where the line cannot be rewritten only what takes long, once a minute."""
        if not self._live and not self._due(doing, waited):
            return
        seconds = f" ({waited:.0f} s)" if waited >= 1 else ""
        self._show(f"{self._text.partition(':')[0]}: {terminal_line(doing)}{seconds}")

    def note(self, text: str) -> None:
        """Say something that stays, beside the line."""
        if self._live:
            self._stream.write("\r\x1b[K")
        self._stream.write(f"{terminal_line(text)}\n")
        self._stream.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _due(self, doing: str, waited: float) -> bool:
        """Whether a log should have it: something new that takes long, or a minute more of the same."""
        last = self._told.get(doing, waited + 1)
        if waited < (last + _REPEAT_S if waited >= last else _QUIET_S):
            return False
        self._told[doing] = waited
        return True

    def _show(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size((WIDTH, 24)).columns
            self._stream.write(f"\r\x1b[K{text[: width - 1]}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


@dataclass(frozen=True)
class OnRay:
    """Where the points are measured, where that is not here.

    Attributes:
        address: of a Ray cluster.
        workers: how many; None for one for each GPU.
    """

    address: str
    workers: int | None


def sweep(
    file: Path, results: Path | None, *, many: bool, retry: bool, show: bool, on_ray: OnRay | None = None
) -> Findings:
    """Measure what is missing of a study.

    Args:
        file: the study, TOML.
        results: the file of its results; None for the one that it names, else one beside it.
        many: whether more than 10,000 points are meant.
        retry: whether points that failed are measured again.
        show: measure nothing, only read the results.
        on_ray: the cluster whose workers measure; None for this process.

    Raises:
        SpecError: for a study that cannot be meant.
        WorkloadError: for a workload that cannot be sent.
        BaselineError: for a results file that cannot be used or written, or is of another study.
        NoGpuError: when a GPU is needed that is not there.
        EngineError: where a Ray cluster does not answer, or goes away.
    """
    study = studies.read(file, results, many=many)
    if show:
        if not study.results.exists():
            raise BaselineError(f"{study.results}: there is no such file; nothing is measured yet")
        return findings(study, Results(study).points)
    with opened(study) as stored:
        if retry:
            stored.forget_failed()
        _measure(study, stored, on_ray)
        return findings(study, stored.points)


def _measure(study: Study, stored: Results, on_ray: OnRay | None) -> None:
    line = Line(sys.stderr)
    settings = Settings(Update.NONE, Path("baselines"), DEFAULTS)
    try:
        with closing(Lab(settings, line.engine)) as lab:
            measurer = PointMeasurer(study, lab)
            if on_ray is None:
                Runner(study, stored, measurer, line.points).run()
                return
            listeners = Listeners(line.points, line.engine, line.note)
            with cluster.opened(study, on_ray.address, on_ray.workers) as workers:
                ParallelRunner(study, stored, measurer, workers, listeners).run()
    finally:
        line.end()
