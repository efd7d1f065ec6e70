"""Changes to a baseline file: data, and what its entries are after them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.records.samples import MOST_SESSIONS, Entry
from pytest_vllmperf.stats import ANCHOR_SESSIONS
from pytest_vllmperf.verdict.comparability import environment_differences

FEWEST_KEPT = ANCHOR_SESSIONS + 1
"""How many sessions a long entry keeps at least: those that its level is anchored to, and the newest."""


@dataclass(frozen=True)
class Changes:
    """The changes to one file.

    Attributes:
        entries: to be started anew.
        appended: entries whose sessions are added to those of the same name, if they can be compared with these.
            The gate and margins become the appended ones: they are what the newest session was judged by.
        removed: names to take out.
        keep: how many sessions of each entry stay, see `shortened`; None for `MOST_SESSIONS` of those that grow.
        expected: entries that the changes were made from, None for one that must not exist; where the file holds
            another, nothing is written.
        or_nothing: whether the file is deleted where the changes leave no entry in it.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    appended: Mapping[str, Entry] = field(default_factory=dict)
    removed: Sequence[str] = ()
    keep: int | None = None
    expected: Mapping[str, Entry | None] = field(default_factory=dict)
    or_nothing: bool = False

    def check(self, tests: Mapping[str, Entry]) -> None:
        """See that the file still holds what the changes were made from.

        Raises:
            LookupError: naming the first entry that another program has changed.
        """
        for name, entry in self.expected.items():
            if tests.get(name) != entry:
                raise LookupError(name)

    def apply(self, tests: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entries as they are after it."""
        kept = {name: entry for name, entry in tests.items() if name not in self.removed}
        if self.keep is not None:
            kept = {name: shortened(entry, self.keep) for name, entry in kept.items()}
        refused = self.refused(tests)
        longer = {
            name: _appended(entry, self.appended[name])
            for name, entry in kept.items()
            if name in self.appended and name not in refused
        }
        return {**kept, **longer, **self.entries}

    def refused(self, tests: Mapping[str, Entry]) -> dict[str, str]:
        """Entries whose sessions cannot be added, and why: what they were judged by is not there any more."""
        found = {}
        for name, new in self.appended.items():
            if name in self.entries:
                continue
            if name not in tests or name in self.removed:
                found[name] = "removed"
            elif changed := _hard_differences(tests[name], new):
                found[name] = f"replaced ({'; '.join(changed)})"
        return found


def shortened(entry: Entry, keep: int) -> Entry:
    """An entry with its first `ANCHOR_SESSIONS` sessions and the newest of the others, `keep` in all.

    The first ones hold the level at the last update: were they dropped, a slow decline would take it along.

    Args:
        entry: one that has no more than `keep` stays as it is.
        keep: at least `FEWEST_KEPT`.
    """
    if len(entry.sessions) <= keep:
        return entry
    first, others = entry.sessions[:ANCHOR_SESSIONS], entry.sessions[ANCHOR_SESSIONS:]
    newest = others[ANCHOR_SESSIONS - keep :]
    gone = sum(1 + session.dropped for session in others[: -len(newest)])
    after_gap = newest[0].model_copy(update={"dropped": newest[0].dropped + gone})
    return entry.model_copy(update={"sessions": [*first, after_gap, *newest[1:]]})


def _hard_differences(entry: Entry, new: Entry) -> list[str]:
    return environment_differences(entry.sessions[-1].environment, new.sessions[-1].environment)


def _appended(entry: Entry, new: Entry) -> Entry:
    longer = entry.model_copy(update={"sessions": [*entry.sessions, *new.sessions], "judging": new.judging})
    return shortened(longer, MOST_SESSIONS)


@dataclass(frozen=True)
class Written:
    """A file that was changed.

    Attributes:
        path: the file.
        refused: entries whose sessions were not added, and why.
    """

    path: Path
    refused: Mapping[str, str] = field(default_factory=dict)
