"""The one line that says most of a check, and the words of its cells; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.records.check_report import CheckReport
from pytest_vllmperf.records.verdict import LimitVerdict, MetricVerdict, Verdict
from pytest_vllmperf.report import limits, units
from pytest_vllmperf.report.judged import beyond, headline, verdict
from pytest_vllmperf.report.rows import NOT_GATED
from pytest_vllmperf.report.verdicts import change_words, confidence, limit_words, moved_words

NONE: Final = "-"
"""Stands where there is nothing to say."""


@dataclass(frozen=True)
class Line:
    """What says most of a check.

    Attributes:
        metric: its label; empty where nothing was measured.
        now: its value.
        change: against the baseline, with its interval.
        margin: what is tolerated.
        detects: smallest slowdown that the baseline detects 80 % of the time.
    """

    metric: str = ""
    now: str = NONE
    change: str = NONE
    margin: str = NONE
    detects: str = NONE


def decisive(check: CheckReport) -> tuple[MetricVerdict, bool] | None:
    """The judged metric that says most, and whether it is gated; None where a limit does, and where none was judged."""
    found = verdict(check)
    return None if beyond(found) else headline(found)


def deciding(check: CheckReport) -> Line:
    """The metric or the limit that decided a check; of one that was not judged, what it measured."""
    found = verdict(check)
    if decided := beyond(found):
        return _limit(decided[0], found)
    most = headline(found)
    if most is None:
        return _measured(check)
    one, gated = most
    return Line(
        METRICS[one.metric].label,
        units.value(one.metric, one.now),
        change(one),
        limit_words(one).removeprefix("margin ") if gated else NOT_GATED,
        detects(check, one.metric) or NONE,
    )


def change(one: MetricVerdict) -> str:
    """The change of a metric with the interval; `unchanged` where both sides are the same and have none."""
    return moved_words(one) or NONE


def interval_head(checks: Iterable[CheckReport]) -> str:
    """What an interval in the column of changes is: `99 % CI`; `CI` where not all have one confidence."""
    judged = (one.judged for check in checks for one in check.metrics.values())
    found = {one.confidence for one in judged if one is not None and one.confidence is not None}
    return f"{confidence(found.pop())} CI" if len(found) == 1 else "CI"


def detects(check: CheckReport, metric: str) -> str:
    """The smallest slowdown that the baseline detects; empty where nobody knows, and where the metric is not gated.

    Args:
        check: that the metric belongs to.
        metric: its name.
    """
    found = check.metrics[metric]
    if not found.gated:
        return ""
    if found.kind == MetricClass.EXACT.value:
        return "exact"
    known = None if found.judged is None or found.judged.against else found.judged.detectable
    return "" if known is None else units.plain_percent(known)


def _limit(one: LimitVerdict, found: Verdict) -> Line:
    """A limit that decided: it stands where the margin does; the change is that of the baseline's verdict."""
    judged = [each for each in (*found.metrics, *found.information) if each.metric == one.metric]
    moved = change_words(judged[0]) if judged else ""
    value = limits.value_words(one).removeprefix(f"{METRICS[one.metric].label} ")
    return Line(METRICS[one.metric].label, value, moved or NONE, f"limit: {limits.limit_words(one)}")


def _measured(check: CheckReport) -> Line:
    known = {name: one for name, one in check.metrics.items() if one.value is not None}
    gated = [name for name, one in known.items() if one.gated]
    noisy = [name for name in gated if not METRICS[name].exact]
    first = next(iter([*noisy, *(name for name in CLOCK_METRICS if name in known), *gated, *known]), None)
    return Line() if first is None else Line(METRICS[first].label, units.value(first, known[first].value))
