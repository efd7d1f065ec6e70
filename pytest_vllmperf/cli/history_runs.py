"""`vllmperf history runs` and `remove`: what they do for their arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_vllmperf.report import units
from pytest_vllmperf.report.layout import aligned

if TYPE_CHECKING:
    from pytest_vllmperf.history.database import Database
    from pytest_vllmperf.history.removing import StoredRun


def listed(database: Database, *, as_json: bool) -> str:
    """The runs of a history, the newest first.

    Raises:
        HistoryError: when it cannot be read.
    """
    from pytest_vllmperf.history import removing

    runs = removing.stored(database)
    if as_json:
        return json.dumps([_data(run) for run in runs], indent=1)
    head = ("id", "started", "commit", "values", "")
    rows = [(run.id, run.started, run.shown_commit, f"{run.values:,}", _of_baseline(run)) for run in runs]
    return "\n".join(aligned([head, *rows], right=(3,)) if rows else [f"{database.name}: has no run"])


def remove(database: Database, names: Sequence[str], *, dry_run: bool) -> str:
    """Take runs out of a history; a line about each.

    Args:
        database: the history.
        names: of the runs.
        dry_run: whether nothing is to be changed.

    Raises:
        HistoryError: for a name that no run has, or several, and for the database. Nothing is then changed.
    """
    from pytest_vllmperf.history import removing

    found = removing.to_remove(database, names) if dry_run else removing.remove(database, names)
    done = "would be removed" if dry_run else "removed"
    return "\n".join(
        f"{done}: {run.id}, the {_of_baseline(run) or 'run'} of {run.started}, commit {run.shown_commit}, with "
        f"{units.many(run.values, 'value')}, {'in' if dry_run else 'from'} {database.name}"
        for run in found
    )


def _of_baseline(run: StoredRun) -> str:
    return "session of a baseline" if run.session else ""


def _data(run: StoredRun) -> dict[str, object]:
    return {
        "id": run.id,
        "started": run.started,
        "commit": run.commit,
        "dirty": run.dirty,
        "session_of_baseline": run.session,
        "values": run.values,
    }
