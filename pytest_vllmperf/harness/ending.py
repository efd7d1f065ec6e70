"""The end of a run: what is written, what is reported of it, and the exit status. Never prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.harness.results import Results
from pytest_vllmperf.records.scorecard import Scorecard
from pytest_vllmperf.records.settings import Settings, Update
from pytest_vllmperf.report.scorecards import markdown
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.storage.scorecards import write_scorecards

CUT_SHORT = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)
"""Exit statuses of a run that did not come to its end."""


@dataclass
class Ending:
    """What is known once all tests are over.

    Attributes:
        stale: (profile, module) -> entries of tests that no longer exist.
        orphans: baseline files whose test module no longer exists.
        cards: scorecards of this run.
        card_files: where they were written.
        notes: lines for the report.
        write_failed: whether a file could not be read or written.
    """

    stale: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    orphans: Sequence[Path] = ()
    cards: Sequence[Scorecard] = ()
    card_files: Sequence[Path] = ()
    notes: list[str] = field(default_factory=list)
    write_failed: bool = False

    def write(self, results: Results, store: BaselineStore, settings: Settings, rootdir: Path, *, whole: bool) -> None:
        """Write baselines and scorecards; whatever cannot be written leaves the rest written and a note.

        Args:
            results: what the tests came to.
            store: of the baselines.
            settings: the run's.
            rootdir: where test modules are looked for.
            whole: whether the run came to its end; else no baseline is written.
        """
        if settings.update is not Update.NONE or settings.append:
            if whole:
                self._try(lambda: results.write(store, prune=settings.update is Update.ALL))
            else:
                self.notes.append("nothing was recorded: the run did not come to its end")
        self._try(lambda: self._look_for_stale(results, store, rootdir))
        self.cards = scorecards(results.rows)
        self._try(lambda: self._write_cards(settings.scorecards))

    def _look_for_stale(self, results: Results, store: BaselineStore, rootdir: Path) -> None:
        self.stale = results.stale(store)
        self.orphans = results.orphans(store, rootdir)

    def _write_cards(self, folder: Path | None) -> None:
        self.card_files = write_scorecards(self.cards, folder, markdown)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaselineError as error:
            self.write_failed = True
            line = f"ERROR: {error}"
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
