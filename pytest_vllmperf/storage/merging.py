"""Sessions of one check that were recorded in several files, brought into one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from pytest_vllmperf.records.samples import MOST_SESSIONS, Entry, Session
from pytest_vllmperf.stats import ANCHOR_SESSIONS
from pytest_vllmperf.storage.changes import shortened
from pytest_vllmperf.verdict.comparability import mixed


class NotAlikeError(Exception):
    """Why entries cannot be merged, in words."""


@dataclass(frozen=True)
class MergedEntry:
    """One check of several files.

    Attributes:
        entry: its sessions in order of time; the gate, margins and workload are those of the newest.
        repeated: how many sessions were in more than one file, and are kept once.
        left_out: how many were left out, as an entry keeps its first sessions and the newest.
        anchors: for each file, how many of the sessions that the level is anchored to it has.
    """

    entry: Entry
    repeated: int
    left_out: int
    anchors: tuple[int, ...]


def merge_entries(entries: Sequence[Entry]) -> MergedEntry:
    """Bring the sessions of one check together.

    Two sessions are the same where all that was recorded is: date, environment and samples.

    Args:
        entries: of the check, one a file; at least one.

    Raises:
        NotAlikeError: for sessions of other hardware, models or workloads, or a date that cannot be read.
    """
    everything = [session for entry in entries for session in entry.sessions]
    if different := mixed(everything):
        raise NotAlikeError(different[0].replace("its stored sessions differ", "the sessions differ"))
    known: dict[str, Session] = {}
    for session in everything:
        identity = session_identity(session)
        same = known.get(identity, session)
        known[identity] = session if session.dropped < same.dropped else same  # the file that has its neighbours
    ordered = sorted(known.values(), key=lambda session: _time(session.recorded))
    newest = max(entries, key=lambda entry: _time(entry.sessions[-1].recorded))
    reasons = dict.fromkeys(entry.reason for entry in entries if entry.reason)
    whole = newest.model_copy(update={"sessions": ordered, "reason": "; ".join(reasons)})
    kept = shortened(whole, MOST_SESSIONS)
    first = {session_identity(session) for session in kept.sessions[:ANCHOR_SESSIONS]}
    return MergedEntry(
        entry=kept,
        repeated=len(everything) - len(ordered),
        left_out=len(ordered) - len(kept.sessions),
        anchors=tuple(len(first & set(map(session_identity, entry.sessions))) for entry in entries),
    )


def session_identity(session: Session) -> str:
    """What tells one session from another: all of it, but how many were dropped before it."""
    return session.model_dump_json(exclude={"dropped"})


def _time(recorded: str) -> datetime:
    """A session's date; one without a time zone is in UTC.

    Raises:
        NotAlikeError: for what is no date.
    """
    try:
        found = datetime.fromisoformat(recorded.replace("Z", "+00:00"))
    except ValueError:
        raise NotAlikeError(f"{recorded!r} is no date, so its session has no place in order of time") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
