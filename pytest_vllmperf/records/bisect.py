"""What a bisection measured and what it came to. Changes are fractions, times are in seconds."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel, ConfigDict

from pytest_vllmperf.records.attribution import Attribution


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Judgement(str, Enum):
    """What one run of the test says of a version."""

    GOOD = "good"
    BAD = "bad"
    UNDECIDED = "undecided"
    UNJUDGED = "not judged"


class Result(str, Enum):
    """What is known of a version."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


class Followed(_Part):
    """The metric that the search follows.

    Attributes:
        check: the name of its check in the baseline file of the module.
        metric: its name.
    """

    check: str
    metric: str


class Attempt(_Part):
    """One run of the test on a version, in turns with another.

    Attributes:
        judgement: what it says.
        reason: why it says nothing; empty where it is good or bad.
        followed: the metric; None where no run has regressed yet.
        status: the verdict on it, as in the report of the run.
        before: its value on the reference.
        now: its value on the version.
        change: relative, for the metric as it is.
        low: lower end of the interval of the change; None for an exact metric.
        high: upper end.
        confidence: of the interval.
        margin: tolerated change for the worse.
        others: gated metrics of the test that regressed besides.
        attribution: where the time of the check differs; None where it was not judged.
        seconds: that the run took.
        engine_starts: how many engines it started, on both versions; None where nobody knows, as it left no report.
    """

    judgement: Judgement
    reason: str = ""
    followed: Followed | None = None
    status: str = ""
    before: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    margin: float | None = None
    others: tuple[str, ...] = ()
    attribution: Attribution | None = None
    seconds: float = 0.0
    engine_starts: int | None = None


class Point(_Part):
    """A version that can be measured.

    Attributes:
        id: a release such as `0.31.0`, or the whole hash of a commit.
        title: the subject of the commit; empty for a release.
    """

    id: str
    title: str = ""

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.id[:12]} ({self.title})" if self.title else self.id

    @property
    def short(self) -> str:
        """For a table."""
        return self.id[:12] if self.title else self.id


class Step(_Part):
    """A version that was tried.

    Attributes:
        version: the id of its point.
        result: what is known of it.
        reason: why it was skipped; empty otherwise.
        attempts: the runs; empty where its environment could not be made.
        seconds: all of it, with the making of its environment.
    """

    version: str
    result: Result
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    seconds: float = 0.0

    @property
    def last(self) -> Attempt | None:
        """The run that decided, or the last one."""
        return self.attempts[-1] if self.attempts else None


class Final(_Part):
    """The first bad version in turns with the last good one.

    Attributes:
        before: the id of the last good version.
        after: the id of the first bad one.
        attempt: the run that decided, or the last one; None where one of the two environments could not be made again.
        reason: why there is no run; empty otherwise.
        runs: how many there were beside those of the steps.
        seconds: that these took.
        engine_starts: how many engines these started; None where nobody knows of one of them.
    """

    before: str
    after: str
    attempt: Attempt | None = None
    reason: str = ""
    runs: int = 0
    seconds: float = 0.0
    engine_starts: int | None = None


class Bisection(_Part):
    """What a search came to.

    Attributes:
        test: the node id.
        points: all versions, from the good end to the bad one.
        steps: what was tried, in that order.
        followed: the metric that regressed.
        good: the last version before `bad` that is known to be good: the place in `points`.
        bad: the first version that is known to be bad: the place in `points`.
        final: these two against each other; None where the search has not ended.
    """

    test: str
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    followed: Followed
    good: int
    bad: int
    final: Final | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing unknown lies between the last good version and the first bad one."""
        return self.bad == self.good + 1

    @property
    def confirmed(self) -> bool:
        """Whether the first bad version is known, and is bad against the last good one as well."""
        attempt = None if self.final is None else self.final.attempt
        return self.exact and attempt is not None and attempt.judgement is Judgement.BAD

    @property
    def engine_starts(self) -> tuple[int, bool]:
        """How many engines all runs started as far as that is known, and whether it is known of every run."""
        told = [attempt.engine_starts for step in self.steps for attempt in step.attempts]
        told += [self.final.engine_starts] if self.final is not None and self.final.runs else []
        return sum(one or 0 for one in told), None not in told

    @property
    def suspects(self) -> tuple[Point, ...]:
        """The versions of which one is the first bad one."""
        return self.points[self.good + 1 : self.bad + 1]

    def step(self, version: str) -> Step | None:
        """What was tried of a version."""
        return next((one for one in self.steps if one.version == version), None)
