"""What the baselines that a run has written will be able to tell, in a run of as many gated metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vllmperf.checking import policy
from pytest_vllmperf.checking.history import History
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.verdict import Outlook
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.verdict import VerdictSettings, outlook


@dataclass(frozen=True)
class SuiteOutlook:
    """What a run's baselines will be able to tell.

    Attributes:
        gated: how many metrics the run gates that noise can move; they share its error budget.
        checks: those that were recorded or grew, each with its gated metrics.
    """

    gated: int = 0
    checks: Sequence[tuple[CheckId, Sequence[Outlook]]] = ()


def suite_outlook(
    checks: Sequence[CheckRecord], recorded: Sequence[CheckRecord], store: BaselineStore, max_engines: int
) -> SuiteOutlook:
    """Look ahead, once the baselines are written: only then it is known how many metrics a run gates.

    Args:
        checks: all of the run.
        recorded: those whose session was written.
        store: where.
        max_engines: new engines that a check may take.

    Raises:
        BaselineError: for a file of these profiles that cannot be read.
    """
    gated = policy.gated_metrics(check.judging.gate for check in checks)
    history, found = History(store), []
    for record in recorded:
        entry = store.read(record.profile, record.module).tests.get(record.name)
        if entry is not None:  # another run may have replaced the file since
            settings = VerdictSettings(
                tuple(entry.judging.gate),
                entry.judging.margin,
                entry.judging.margins,
                a_fail=policy.a_fail(gated),
                max_engines=max_engines,
                priors=history.priors(record.profile, entry.sessions[-1].environment.hard),
            )
            found.append((record.id, outlook(entry.sessions, settings)))
    return SuiteOutlook(gated, found)
