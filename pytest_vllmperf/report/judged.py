"""Verdicts out of the data of a run, as those who put verdicts into words take them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.check_report import CheckReport, Judged
from pytest_vllmperf.records.verdict import LimitVerdict, MetricVerdict, Status, Verdict


def metric_verdict(name: str, one: Judged) -> MetricVerdict:
    """One metric, judged; without what its baseline can detect, of which a run keeps the figures alone.

    Args:
        name: of the metric.
        one: as the data of a run has it.
    """
    return MetricVerdict(
        metric=name,
        status=one.status,
        baseline=one.baseline,
        now=one.now,
        margin=one.margin,
        change=one.change,
        low=one.low,
        high=one.high,
        confidence=one.confidence,
        engines=one.engines,
        iterations=one.iterations,
        paired=one.paired,
        reason=one.reason,
        clearly_better=one.clearly_better,
        drift=one.drift,
        against=one.against,
    )


def verdict(check: CheckReport) -> Verdict:
    """The verdict on a check. A metric that this release does not know is left out: nobody can tell its unit."""
    judged = list(_judged(check))
    return Verdict(
        status=check.status,
        metrics=tuple(one for one, gated in judged if gated),
        information=tuple(one for one, gated in judged if not gated),
        reasons=check.reasons,
        limits=tuple(one for one in check.limits if one.metric in METRICS),
    )


def _judged(check: CheckReport) -> Iterator[tuple[MetricVerdict, bool]]:
    for name, one in check.metrics.items():
        if one.judged is not None and name in METRICS:
            yield metric_verdict(name, one.judged), one.gated


def beyond(found: Verdict) -> list[LimitVerdict]:
    """The limits that decided, where no metric has the verdict."""
    decided = [one for one in found.limits if one.status is found.status is not Status.OK]
    return [] if found.status in {one.status for one in found.metrics} else decided


def headline(found: Verdict) -> tuple[MetricVerdict, bool] | None:
    """The metric that says most, and whether it decides; None where none was judged.

    That is the first with the verdict of the check; of an OK one, the first that noise moves. Where only exact metrics
    are gated, and all are OK, it is one that does not decide: people look for the clock.
    """
    if not found.metrics and not found.information:
        return None
    if found.status is not Status.OK:
        decided = [one for one in found.metrics if one.status is found.status]
        return (decided or list(found.metrics) or list(found.information))[0], bool(found.metrics)
    noisy = [one for one in found.metrics if not METRICS[one.metric].exact]
    if noisy:
        return noisy[0], True
    return (found.information[0], False) if found.information else (found.metrics[0], True)
