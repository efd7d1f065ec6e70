"""What a run of the test says of a version. Pure: it reads the report of the run, and never calls a silent run good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_vllmperf.errors import BisectError
from pytest_vllmperf.records.bisect import Attempt, Followed, Judgement
from pytest_vllmperf.records.check_report import CheckReport, Judged
from pytest_vllmperf.records.custom import plain_name
from pytest_vllmperf.records.report import RunReport, TestReport
from pytest_vllmperf.records.verdict import Status

_SAYS = {
    Status.REGRESSED: Judgement.BAD,
    Status.OK: Judgement.GOOD,
    Status.IMPROVED: Judgement.GOOD,
    Status.NOISY: Judgement.UNDECIDED,
    Status.UNDECIDED: Judgement.UNDECIDED,
    Status.INVALID: Judgement.UNDECIDED,
}
"""What the verdict on the followed metric says of the version; any other verdict says nothing."""

_LONGEST = 300


@dataclass(frozen=True)
class Asked:
    """What is asked of a run.

    Attributes:
        test: the node id as the user gave it.
        reference: the name of the interpreter that the checks have to be measured in turns with.
        metric: the only metric that counts; None for any gated one.
        followed: the metric of the search; None where no run has regressed yet.
    """

    test: str
    reference: str
    metric: str | None = None
    followed: Followed | None = None


@dataclass(frozen=True)
class _Row:
    """A gated metric that was judged."""

    followed: Followed
    judged: Judged
    check: CheckReport


def judge(report: RunReport, asked: Asked) -> Attempt:
    """What a run says.

    Args:
        report: of the run.
        asked: what is asked of it.

    Raises:
        BisectError: where the node id selects several tests.
    """
    if len(report.tests) > 1:
        names = ", ".join(test.nodeid for test in report.tests[:3])
        raise BisectError(f"{asked.test} selects {len(report.tests)} performance tests, such as {names}; name one")
    if not report.tests:
        return _unjudged(f"{asked.test} is no performance test, or was not run: it has to use the fixture vllmperf")
    test = report.tests[0]
    if silent := _silent(test, asked):
        return _unjudged(silent)
    return _first(test, asked) if asked.followed is None else _again(test, asked.followed)


def _silent(test: TestReport, asked: Asked) -> str:
    """Why a run says nothing of the version; empty where its checks were measured in turns as they should be."""
    if not test.checks:
        told = _brief(test.message)
        return f"the test {_ENDED[test.outcome]} without a check{f': {told}' if told else ''}"
    for check in test.checks:
        if check.reference is None:
            return f"{check.entry} is not measured in turns: a marker says against=..., which counts more than bisect"
        if check.reference.name != asked.reference:
            other = check.reference.name
            return f"{check.entry} was measured in turns with {other}, and not with {asked.reference}"
    return ""


_ENDED = {
    "passed": "passed",
    "failed": "failed",
    "error": "failed",
    "skipped": "was skipped",
    "xfailed": "failed as expected",
    "xpassed": "passed",
    "interrupted": "was interrupted",
    "not run": "was not run",
}


def _first(test: TestReport, asked: Asked) -> Attempt:
    """The run that chooses the metric to follow: the largest regression for its margin, one with an interval first."""
    rows = [row for row in _rows(test) if asked.metric in (None, row.followed.metric, plain_name(row.followed.metric))]
    bad = [row for row in rows if row.judged.status is Status.REGRESSED]
    if bad:
        return _attempt(max(bad, key=_weight), test)
    for check in test.checks:
        if not any(metric.gated and metric.judged is not None for metric in check.metrics.values()):
            return _unjudged(_void(check))
    if not rows:
        gated = ", ".join(dict.fromkeys(row.followed.metric for row in _rows(test))) or "none"
        return _unjudged(f"{asked.metric} was not judged, as it was not measured or a marker gates others: {gated}")
    open_rows = [row for row in rows if _SAYS.get(row.judged.status) is not Judgement.GOOD]
    return _attempt(max(open_rows or rows, key=_weight), test)


def _again(test: TestReport, followed: Followed) -> Attempt:
    """A run for a search that follows a metric."""
    found = next((row for row in _rows(test) if row.followed == followed), None)
    if found is not None:
        return _attempt(found, test)
    check = next((check for check in test.checks if check.entry == followed.check), None)
    if check is None:
        return _unjudged(f"the test made no check {followed.check}")
    reason = _void(check) or f"{followed.metric} was not judged"
    judgement = Judgement.UNDECIDED if check.status is Status.INVALID else Judgement.UNJUDGED
    return Attempt(judgement=judgement, reason=reason, followed=followed, status=check.status.value)


def _rows(test: TestReport) -> Iterator[_Row]:
    for check in test.checks:
        for name, metric in check.metrics.items():
            if metric.gated and metric.judged is not None:
                yield _Row(Followed(check=check.entry, metric=name), metric.judged, check)


def _weight(row: _Row) -> tuple[bool, float]:
    judged = row.judged
    size = abs(judged.change) / judged.margin if judged.change is not None and judged.margin else 0.0
    return judged.low is not None, size


def _attempt(row: _Row, test: TestReport) -> Attempt:
    judged = row.judged
    judgement = _SAYS.get(judged.status, Judgement.UNJUDGED)
    silent = judgement in (Judgement.UNDECIDED, Judgement.UNJUDGED)
    others = [
        one.followed.metric
        for one in _rows(test)
        if one.judged.status is Status.REGRESSED and one.followed != row.followed
    ]
    return Attempt(
        judgement=judgement,
        reason=(judged.reason or f"{row.followed.metric} is {judged.status.value}") if silent else "",
        followed=row.followed,
        status=judged.status.value,
        before=judged.baseline,
        now=judged.now,
        change=judged.change,
        low=judged.low,
        high=judged.high,
        confidence=judged.confidence,
        margin=judged.margin,
        others=tuple(dict.fromkeys(others)),
        attribution=row.check.attribution,
    )


def _void(check: CheckReport) -> str:
    reasons = _brief("; ".join(check.reasons))
    return f"{check.entry} is {check.status.value}{f': {reasons}' if reasons else ''}"


def _unjudged(reason: str) -> Attempt:
    return Attempt(judgement=Judgement.UNJUDGED, reason=reason)


def _brief(text: str) -> str:
    """A message on one line, without what makes it long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
