"""`RunReporter`: keeps what a run comes to, and writes it to the files of `--vllmperf-json` and `--vllmperf-report`."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from pytest_vllmperf import __version__
from pytest_vllmperf.checking import policy
from pytest_vllmperf.errors import VllmPerfError, in_one_line
from pytest_vllmperf.harness import ending, machine, options, stale, trending
from pytest_vllmperf.harness.collection import is_performance_test, node_id
from pytest_vllmperf.harness.ending import Ending
from pytest_vllmperf.harness.github import GitHubJob
from pytest_vllmperf.harness.protocol import attached
from pytest_vllmperf.harness.repository import Revision, revision
from pytest_vllmperf.harness.results import Results
from pytest_vllmperf.harness.seen import Seen
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.ids import writable
from pytest_vllmperf.records.report import (
    CollectionProblem,
    Machine,
    RunInfo,
    RunOutcome,
    RunReport,
    ScorecardReport,
    ScorecardRow,
)
from pytest_vllmperf.records.scorecard import Line, Scorecard
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.records.trends import RunTrends
from pytest_vllmperf.report import pages as report_pages
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.storage import pages, runs

PERFORMANCE_TEST: Final = "vllmperf_test"
"""The attribute of a report that marks the test as a performance test."""
_OUTPUT: Final = "vllmperf_selected"
_STARTS: Final = "vllmperf_engine_starts"
_OUTCOMES: Final[dict[int, RunOutcome]] = {
    pytest.ExitCode.OK: "passed",
    pytest.ExitCode.TESTS_FAILED: "failed",
    pytest.ExitCode.INTERRUPTED: "interrupted",
    pytest.ExitCode.INTERNAL_ERROR: "internal error",
    pytest.ExitCode.USAGE_ERROR: "usage error",
    pytest.ExitCode.NO_TESTS_COLLECTED: "no tests collected",
}


class RunReporter:
    """Hooks of an armed run whose results go to a file. Workers of xdist hand on which tests they were to run.

    Args:
        config: of the run.
        settings: the run's.
        results: the books of the run, filled by others.
        end: of the run, filled by others.
        perf: of this process.
    """

    def __init__(self, config: pytest.Config, settings: Settings, results: Results, end: Ending, perf: Lab) -> None:
        self._config = config
        self._settings = settings
        self._results = results
        self._ending = end
        self._redactor = perf.redactor
        self._slots = perf.slots
        self._starts_of_workers: list[int | None] = []
        self._seen = Seen()
        self._collected: dict[str, int] = {}
        self._problems: list[CollectionProblem] = []
        self._began = time.monotonic()
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._revision = Revision()
        self._told: list[str] = []
        self._job = GitHubJob.found(settings, os.environ, config.rootpath)
        self._commands: list[str] = []

    @property
    def _is_worker(self) -> bool:
        return options.is_worker(self._config)

    def pytest_sessionstart(self) -> None:
        """Remove the files of an earlier run.

        The commit is read here: it may be another one when the run ends.
        """
        stale.forget(self._config)
        written = self._settings.json_file is not None or self._settings.report_files
        if written and not self._is_worker and not options.only_looks(self._config):
            self._revision = revision(self._config.rootpath)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """In which order tests were collected, before anybody orders them anew."""
        self._collected = {item.nodeid: at for at, item in enumerate(items)}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Which tests are to run."""
        self._seen.selected(self._selected(session))

    def _selected(self, session: pytest.Session) -> list[str]:
        """The performance tests that are to run, in the order in which they were collected."""
        chosen = [node_id(item) for item in session.items if is_performance_test(item)]
        return sorted(chosen, key=lambda nodeid: self._collected.get(nodeid, len(self._collected)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Which tests a worker is to run, in which order."""
        self._seen.ordered(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take in which tests of a worker are performance tests, and how many engines it started."""
        told = getattr(node, "workeroutput", {})
        self._seen.selected(told.get(_OUTPUT, ()))
        self._starts_of_workers.append(told.get(_STARTS))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tests of what cannot be collected are missing."""
        if report.failed:
            problem = CollectionProblem(nodeid=writable(report.nodeid), message=report.longreprtext)
            if problem not in self._problems:  # every worker collects
                self._problems.append(problem)

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """A test has begun."""
        self._seen.started(nodeid, location)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has come to its end, here or in a worker."""
        self._seen.add(report, attached(report), performance_test=hasattr(report, PERFORMANCE_TEST))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the files, once the exit status is decided and all else is written."""
        if self._is_worker:
            told = {_OUTPUT: self._selected(session), _STARTS: self._slots.all_starts}
            self._config.workeroutput.update(told)  # type: ignore[attr-defined]
        elif not options.only_looks(self._config):
            self._told = self._write(exitstatus, int(session.exitstatus))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Where the files are, or why there are none."""
        for line in self._told:
            terminalreporter.write_line(terminal_line(self._redactor.text(line)))
        for command in self._commands:  # the only lines that a CI is to take for commands
            terminalreporter.write_line(command)

    def _write(self, ended: int, exit_status: int) -> list[str]:
        """Write all files; what was done, a line for each."""
        try:
            report = runs.without_secrets(self.report(ended, exit_status), self._redactor.text)
        except Exception as error:  # a fault of the report must not change the outcome of the run
            return [f"WARNING: --vllmperf-json, --vllmperf-report: not written: {in_one_line(error)}"]
        trends, warned = None, list[str]()
        if self._settings.history and (self._settings.report_files or self._job is not None):
            trends, warned = trending.trends_of(self._settings.history, report, self._redactor)
        told = [*warned, *self._tell_job(report, trends)]
        if (data := self._settings.json_file) is not None:
            told.append(self._one(data, "json", "the run is written to", lambda: runs.write(data, report)))
        told += [
            self._one(file, "report", "a report is written to", partial(_write_page, file, report, trends))
            for file in self._settings.report_files
        ]
        return told

    def _tell_job(self, report: RunReport, trends: RunTrends | None) -> list[str]:
        """Append to the summary of the job that the run is in, and make its annotations; what went wrong, in lines."""
        if self._job is None:
            return []
        try:
            self._commands = self._job.commands(report)
        except Exception as error:  # a fault of the report must not change the outcome of the run
            return [f"WARNING: no annotations: {in_one_line(error)}"]
        return [line for line in [self._job.append(report, trends)] if line]

    def _one(self, file: Path, option: str, done: str, write: Callable[[], None]) -> str:
        """Write one file; what was done, in a line. Whatever goes wrong, the run's outcome stays."""
        shown = os.path.relpath(file, self._config.invocation_params.dir)
        try:
            write()
        except OSError as error:
            return f"WARNING: --vllmperf-{option}: {shown}: not written: {error.strerror or error}"
        except VllmPerfError as error:
            return f"WARNING: --vllmperf-{option}: {error}"
        except Exception as error:  # a fault of the report must not change the outcome of the run
            return f"WARNING: --vllmperf-{option}: {shown}: not written: {in_one_line(error)}"
        return f"vllmperf: {done} {shown}"

    def report(self, ended: int, exit_status: int) -> RunReport:
        """The run so far.

        Args:
            ended: the exit status with which the tests ended.
            exit_status: what pytest is going to return.
        """
        tests = self._seen.reports()
        missing = any(test.outcome in ("interrupted", "not run") for test in tests)
        run = RunInfo(
            plugin=__version__,
            started=self._started,
            seconds=time.monotonic() - self._began,
            outcome=_OUTCOMES.get(exit_status, "other"),
            exit_status=exit_status,
            complete=ended not in ending.CUT_SHORT and not missing and not self._problems,
            mode=self._settings.update.value + (" and append" if self._settings.append else ""),
            machine=_machine(),
            options=options.in_force(self._config),
            notes=tuple(self._ending.notes),
            written=tuple(self._relative(file) for file in self._results.written),
            collection_problems=tuple(self._problems),
            commit=self._revision.commit,
            dirty=self._revision.dirty,
            engine_starts=self._engine_starts(),
            others_failed=self._seen.others_failed(),
        )
        return RunReport(run=run, tests=tests, scorecards=tuple(map(_scorecard, self._ending.cards)))

    def _engine_starts(self) -> int | None:
        known = [one for one in self._starts_of_workers if one is not None]
        return self._slots.all_starts + sum(known) if len(known) == len(self._starts_of_workers) else None

    def _relative(self, file: Path) -> str:
        return Path(os.path.relpath(file, self._config.rootpath)).as_posix()


def _write_page(file: Path, report: RunReport, trends: RunTrends | None) -> None:
    pages.write(file, report_pages.render(report, file.suffix, trends=trends), report_pages.MARK)


def _machine() -> Machine:
    return Machine(
        device=machine.device(),
        driver=machine.driver(),
        vllm=machine.vllm_version(),
        python=sys.version.split()[0],
        pytest=pytest.__version__,
        platform=f"{platform.system()} {platform.machine()}",
    )


def _scorecard(card: Scorecard) -> ScorecardReport:
    rows = tuple(map(_row, card.lines))
    return ScorecardReport(name=card.name, profile=card.profile, baseline=card.baseline, rows=rows, notes=card.notes)


def _row(line: Line) -> ScorecardRow:
    names = METRICS.ordered({*METRICS, *policy.measured(line.row.engines)})
    values = {name: line.row.value(name) for name in names}
    return ScorecardRow(
        configuration=line.row.configuration,
        engine=line.row.engine,
        values={name: value for name, value in values.items() if value is not None},
        speedup=line.speedup,
        saved=line.saved,
        agreement=line.agreement,
        cost=line.cost,
        problems=line.row.problems,
    )
