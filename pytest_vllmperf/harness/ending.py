"""The end of a run: what is written, what is reported of it, and the exit status. Never prints."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_vllmperf.checking.outlooks import SuiteOutlook, suite_outlook
from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.errors import BaselineError, in_one_line
from pytest_vllmperf.harness.results import Results
from pytest_vllmperf.records.scorecard import Scorecard
from pytest_vllmperf.records.settings import Settings, Update
from pytest_vllmperf.report.scorecards import markdown
from pytest_vllmperf.storage import rescue
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.storage.scorecards import write_scorecards

CUT_SHORT = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)
"""Exit statuses of a run that did not come to its end."""


@dataclass(frozen=True)
class Run:
    """The run that ends.

    Attributes:
        rootdir: where test modules are looked for.
        started_in: where pytest was started.
        whole: whether the run completed.
    """

    rootdir: Path
    started_in: Path
    whole: bool


@dataclass
class Ending:
    """What is known once all tests are over.

    Attributes:
        stale: (profile, module) -> entries of tests that no longer exist.
        orphans: baseline files whose test module no longer exists.
        cards: scorecards of this run.
        card_files: where they were written.
        outlook: what the baselines that were written will be able to tell.
        notes: lines for the report.
        write_failed: whether a file could not be read or written.
    """

    stale: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    orphans: Sequence[Path] = ()
    cards: Sequence[Scorecard] = ()
    card_files: Sequence[Path] = ()
    outlook: SuiteOutlook = field(default_factory=SuiteOutlook)
    notes: list[str] = field(default_factory=list)
    write_failed: bool = False

    def write(self, results: Results, store: BaselineStore, settings: Settings, run: Run) -> None:
        """Write baselines and scorecards; whatever cannot be written leaves the rest written, a note and a rescue file.

        Args:
            results: what the tests came to.
            store: of the baselines.
            settings: the run's.
            run: where it ran, and whether it completed; else no baseline is written.
        """
        if settings.update is not Update.NONE or settings.append:
            if run.whole:
                self._try(lambda: self._record(results, store, settings, run))
                self._try(lambda: self._look_ahead(results, store, settings))
            else:
                self.notes.append("nothing was recorded because the run did not finish")
        self._try(lambda: self._look_for_stale(results, store, run.rootdir))
        self._try(lambda: self._make_cards(results))
        self._try(lambda: self._write_cards(settings.scorecards, run))

    def _record(self, results: Results, store: BaselineStore, settings: Settings, run: Run) -> None:
        try:
            results.write(store, prune=settings.update is Update.ALL)
        finally:
            self._failed(*results.problems)
            if results.unwritten:
                file = rescue.keep(results.unwritten, rescue.folders(run.started_in))
                command = ["vllmperf", "baseline", "restore", str(file), "--baselines"]
                command.append(os.path.relpath(store.root, run.started_in))
                self.notes.append(f"what could not be written was saved to {file}; restore it with:")
                self.notes.append(f"    {shlex.join(command)}")

    def _look_ahead(self, results: Results, store: BaselineStore, settings: Settings) -> None:
        most = max(settings.max_engines, settings.engines if settings.append else 1)
        self.outlook = suite_outlook(results.checks, results.recorded, store, most)

    def _look_for_stale(self, results: Results, store: BaselineStore, rootdir: Path) -> None:
        self.stale = results.stale(store)
        self.orphans = results.orphans(store, rootdir)

    def _make_cards(self, results: Results) -> None:
        self.cards = scorecards(results.rows)

    def _write_cards(self, folder: Path | None, run: Run) -> None:
        try:
            self.card_files = write_scorecards(self.cards, folder, markdown)
        except Exception as error:
            self._failed(in_one_line(error))
            self._rescue_cards(rescue.folders(run.started_in))

    def _rescue_cards(self, places: Sequence[Path]) -> None:
        """Write the scorecards into the first folder that takes them.

        Raises:
            BaselineError: when there is none.
        """
        for number, place in enumerate(places, start=1):
            folder = rescue.new_path(place, "-scorecards")
            try:
                write_scorecards(self.cards, folder, markdown)
            except BaselineError:
                if number == len(places):
                    raise
            else:
                self.notes.append(f"the scorecards were saved to {folder}")
                return

    def _try(self, write: Callable[[], None]) -> None:
        """Do one thing of several; whatever it raises must not keep the others from being done."""
        try:
            write()
        except Exception as error:
            self._failed(in_one_line(error))

    def _failed(self, *problems: str) -> None:
        for problem in problems:
            self.write_failed = True
            line = f"ERROR: {problem}"
            if line not in self.notes:
                self.notes.append(line)


def exit_status(current: int, *, write_failed: bool, nothing_judged: bool, leaked: bool) -> int:
    """The run's exit status: the one place that decides it.

    Args:
        current: as pytest has it. A run that was cut short, or collected no test at all, keeps its status.
        write_failed: a file could not be read or written.
        nothing_judged: the gate saw nothing.
        leaked: device memory did not come back.
    """
    if write_failed and current not in CUT_SHORT:
        return pytest.ExitCode.USAGE_ERROR
    if (nothing_judged or leaked) and current == pytest.ExitCode.OK:
        return pytest.ExitCode.TESTS_FAILED
    return current
