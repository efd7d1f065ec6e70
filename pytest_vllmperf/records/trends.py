"""Results over time, and where they changed: what tables and pages of a history are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from pytest_vllmperf.records.ids import CHECK_SEPARATOR

if TYPE_CHECKING:
    from pytest_vllmperf.records.check_report import Better

VOID: Final = "void"
NOT_FINITE: Final = "not a finite number"
NOT_MEASURED: Final = "not measured"
"""Why a value does not count."""


COMMIT_DIGITS: Final = 7
"""Digits of a commit that lists show."""
CHANGES: Final = "+changes"
"""What lists add to a commit where files differed from it."""


def shown_commit(commit: str | None, dirty: bool | None) -> str:
    """A commit as lists show it: `1a2b3c4`, or `1a2b3c4+changes` where files differed from it."""
    return "unknown" if commit is None else f"{commit[:COMMIT_DIGITS]}{CHANGES if dirty else ''}"


@dataclass(frozen=True, slots=True)
class SeriesId:
    """What a series is of. Values of one series are compared as long as their hard environment stays the same.

    Attributes:
        test: node id of the test.
        check: name of the check; empty for the only one of its test.
        measurement: number of a measurement that was not checked, from 1; 0 for a check.
        profile: the kind of hardware.
        metric: name of the metric.
    """

    test: str
    check: str
    measurement: int
    profile: str
    metric: str

    @property
    def own(self) -> str:
        """What tells it from others of its test, for a person; empty for the only check of a test."""
        return self.check or (f"measurement {self.measurement}" if self.measurement else "")

    @property
    def subject(self) -> str:
        """The check, or the measurement that was not checked, with its test, for a person."""
        return f"{self.test}{CHECK_SEPARATOR}{self.own}" if self.own else self.test


@dataclass(frozen=True, slots=True)
class Declared:
    """What is known of a metric, whichever release declared it.

    Attributes:
        label: for a person.
        unit: symbol of the unit of its values; empty for a plain count.
        better: which way is better.
        kind: its class, see docs/metrics.md.
        clock: whose clock or counter it comes from.
        gated: whether it decided a check in any run.
    """

    label: str
    unit: str
    better: Better
    kind: str
    clock: str
    gated: bool


@dataclass(frozen=True, slots=True)
class RunOfHistory:
    """A run, or a stored session of a baseline.

    Attributes:
        id: in the database.
        started: when, as an ISO date and time.
        commit: of the user's repository; None where nobody knows.
        dirty: whether files differed from that commit; None where nobody knows.
        complete: whether every selected test came to its end.
        recorded: whether it is a stored session of a baseline, of one check.
    """

    id: int
    started: str
    commit: str | None
    dirty: bool | None
    complete: bool
    recorded: bool = False

    @property
    def shown_commit(self) -> str:
        """Its commit as lists show it."""
        return shown_commit(self.commit, self.dirty)

    @property
    def minute(self) -> str:
        """When it was started, to the minute, in UTC; as it is stored where that is no date."""
        try:
            found = datetime.fromisoformat(self.started.replace("Z", "+00:00"))
        except ValueError:
            return self.started
        return (found.astimezone(timezone.utc) if found.tzinfo else found).strftime("%Y-%m-%d %H:%M")


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of the level of a trend.

    Attributes:
        at: index of the first value of the new level.
        before: mean of the level before.
        after: mean of the new level.
        change: after against before; None where the level before is 0.
        worse: whether it is a change for the worse.
        p_value: the chance of such a difference where nothing changed.
        last_before: the last run on the level before.
        first_after: the first run on the new level.
        changed: what differs between the environments of both runs, each in words.
        unchanged: what is known to be the same in both, of what is asked for first.
        nearby: where nothing that may be the cause differs between both, what differs between runs next to them, in
            words: noise may place a change a run or two beside the true one. Empty otherwise.
    """

    at: int
    before: float
    after: float
    change: float | None
    worse: bool
    p_value: float
    last_before: RunOfHistory
    first_after: RunOfHistory
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    nearby: str = ""


@dataclass(frozen=True, slots=True)
class Break:
    """Where values begin that are not compared with the ones before them, as their hard environment differs.

    Attributes:
        last_before: the last run before.
        first_after: the first run after.
        changed: what differs, each in words.
    """

    last_before: RunOfHistory
    first_after: RunOfHistory
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """Values of one series that are compared with each other, in the order of time.

    Attributes:
        id: of the series.
        metric: what is known of the metric.
        times: when each was measured, in seconds since 1970-01-01 UTC.
        values: in the unit of the metric; finite.
        runs: that each comes from.
        shifts: changes of the level, in order.
        began: why it does not go on from earlier values of the series; None for the first one.
        left_out: why values of the series do not count -> how many; the same for all trends of one series.
        missing: why the newest run that has its test has no value of it, in words; empty where it has.
    """

    id: SeriesId
    metric: Declared
    times: tuple[float, ...]
    values: tuple[float, ...]
    runs: tuple[RunOfHistory, ...]
    shifts: tuple[Shift, ...] = ()
    began: Break | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Trends:
    """All of a history that is to be shown.

    Attributes:
        trends: in the order of their series.
        runs: how many runs they come from.
        hidden: changes of metrics that are not among the trends.
        notes: what a person should know, in words.
    """

    trends: tuple[Trend, ...]
    runs: int
    hidden: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunTrends:
    """What a history tells of the checks of one run, which its report shows.

    Attributes:
        source: the history, for a person; without a password.
        found: the trends of these checks, with the values of the run itself; None where the history could not be read.
        earlier: how many earlier runs have a value of any of these checks.
        problem: why it could not be read, in a line; empty where it was.
    """

    source: str
    found: Trends | None
    earlier: int = 0
    problem: str = ""
