"""What a verdict says: of one metric, of one check, and of what a baseline can tell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pytest_vllmperf.stats.prior import Prior


class Status(str, Enum):
    """One word about a metric or a check; the order is from good to bad, and the worst metric speaks for a check.

    Each is a string, so that `verdict.status == "OK"` holds.
    """

    OK = "OK"
    RECORDED = "RECORDED"
    IMPROVED = "IMPROVED"
    NOISY = "NOISY"
    UNDECIDED = "UNDECIDED"
    NO_BASELINE = "NO_BASELINE"
    NOT_COMPARABLE = "NOT_COMPARABLE"
    INVALID = "INVALID"
    DRIFTED = "DRIFTED"
    REGRESSED = "REGRESSED"
    BEYOND_LIMIT = "BEYOND_LIMIT"

    __str__ = str.__str__

    @property
    def final(self) -> bool:
        """Whether no further engine is wanted."""
        return self is not Status.UNDECIDED


def worst(statuses: list[Status]) -> Status:
    """The worst of at least one."""
    order = list(Status)
    return max(statuses, key=order.index)


@dataclass(frozen=True)
class MetricVerdict:
    """One metric, judged.

    Attributes:
        metric: its name in the table.
        status: OK, REGRESSED, DRIFTED, IMPROVED, NOISY, UNDECIDED or INVALID.
        baseline: value of the stored sessions, in the unit of the table; None when not measured there.
        now: value of the new engines; None when not measured.
        margin: the tolerated relative change.
        change: now against baseline, as a fraction; None where it has no meaning.
        low: lower end of the change's interval; None for an exact metric.
        high: upper end.
        confidence: of that interval.
        engines: new engines it rests on.
        iterations: of each of them; requests, where they are paired.
        paired: whether requests were compared one by one.
        noise: what the baseline can tell; None for an exact metric.
        reason: in words, why it does not decide or cannot be judged.
        clearly_better: whether its interval lies beyond the margin on the good side; OK may come before IMPROVED can.
        drift: the creeping change, where the status is DRIFTED.
        against: the reference interpreter that it was measured in turns with; empty for a stored baseline. `baseline`
            is then the value of the reference.
    """

    metric: str
    status: Status
    baseline: float | None
    now: float | None
    margin: float
    change: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    engines: int = 0
    iterations: int = 0
    paired: bool = False
    noise: Noise | None = None
    reason: str = ""
    clearly_better: bool = False
    drift: Drift | None = None
    against: str = ""

    @property
    def within_margin(self) -> bool:
        """Whether the new value differs from the baseline by no more than the margin, either way."""
        if self.change is None:
            return self.now == self.baseline
        return abs(self.change) <= self.margin


@dataclass(frozen=True)
class LimitVerdict:
    """One metric, held against an absolute limit.

    Attributes:
        metric: its name in the table.
        limit: in the metric's unit: the most it may be where lower is better, the least where higher is.
        status: OK, BEYOND_LIMIT, NOISY, UNDECIDED, or INVALID where it was not measured.
        now: value over the new engines; None when not measured.
        low: lower end of its interval; None where there is none, as of an exact metric.
        high: upper end.
        confidence: of that interval.
        engines: engine starts that it rests on.
    """

    metric: str
    limit: float
    status: Status
    now: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    engines: int = 0


@dataclass(frozen=True)
class Verdict:
    """All gated metrics of one check, judged.

    Attributes:
        status: the worst of them and of the limits, or why there was nothing to judge.
        metrics: the gated metrics in the order of the table; empty when there was nothing to judge.
        information: metrics that do not decide here, judged alike.
        reasons: in words, why there was nothing to judge.
        limits: the metrics with an absolute limit, in the order of the table; empty for a void measurement.
    """

    status: Status
    metrics: tuple[MetricVerdict, ...] = ()
    information: tuple[MetricVerdict, ...] = ()
    reasons: tuple[str, ...] = ()
    limits: tuple[LimitVerdict, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing in it speaks against the baseline, so that it may join it.

        That is OK or NOISY, with no gated metric beyond its margin, for worse or for better: a baseline too young to
        decide anything could never grow without the NOISY ones, and one lucky run is not to move the level.
        """
        return self.status in (Status.OK, Status.NOISY) and all(one.within_margin for one in self.metrics)


@dataclass(frozen=True, slots=True)
class Drift:
    """A change that crept in over sessions, none of which was a regression.

    change: of the level, as a fraction of the first sessions' level; negative is "less".
    since: when the first of the sessions was recorded, as stored: that is the last update of the baseline.
    sessions: how many sessions it took, the new one included.
    """

    change: float
    since: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Noise:
    """What a baseline can tell. All fractions: 0.01 is 1 %.

    session_sd: between sessions. engine_sd: between engines of a session, their iterations included.
    detectable: smallest slowdown found with the settings' power on `max_engines` new engines.
    testable: whether, with as many, a change as large as the margin stands out of the noise at all.
    multimodal: the stored engines fall into groups.
    prior: the hyperparameters that both were shrunk towards.
    sessions_to_test: stored sessions after which the baseline is expected to be testable, the present ones included;
        `sessions` where it is already; None where more sessions would not do, and in a verdict: it does not look ahead.
    """

    session_sd: float
    engine_sd: float
    detectable: float
    testable: bool
    multimodal: bool
    sessions: int
    engines: int
    prior: Prior
    sessions_to_test: int | None = None


@dataclass(frozen=True)
class Outlook:
    """One metric of a baseline.

    Attributes:
        metric: its name in the table.
        margin: the tolerated relative change.
        noise: what the baseline can tell; its `detectable` is the smallest slowdown that will be found.
    """

    metric: str
    margin: float
    noise: Noise
