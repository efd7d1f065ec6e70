"""Judged metrics as rows of a small table, and those with nothing to tell folded into a line."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.verdict import MetricVerdict, Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.layout import aligned, first_that_fits
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import change_words, folded, limit_words

NOT_GATED = "not gated"
_INDENT = "  "


def metric_rows(
    gated: Sequence[MetricVerdict], information: Sequence[MetricVerdict] = (), *, width: int = WIDTH
) -> list[str]:
    """One indented row for each metric: verdict, name, both values, change with interval, margin.

    Where that is too wide, the margin is left out first, then the value of the baseline.

    Args:
        gated: metrics that decide.
        information: metrics that do not.
        width: columns of a line.
    """
    judged = [*((one, True) for one in gated), *((one, False) for one in information)]
    if not judged:
        return []

    def layout(*, before: bool, margin: bool) -> list[str]:
        rows = [
            (
                one.status.value if decides else NOT_GATED,
                METRICS[one.metric].label,
                _values(one, before=before),
                change_words(one),
                limit_words(one) if decides and margin else "",
            )
            for one, decides in judged
        ]
        return [f"{_INDENT}{line}" for line in aligned(rows)]

    layouts = [
        lambda: layout(before=True, margin=True),
        lambda: layout(before=True, margin=False),
        lambda: layout(before=False, margin=False),
    ]
    return first_that_fits(layouts, width)


def _values(one: MetricVerdict, *, before: bool) -> str:
    return units.pair(one.metric, one.baseline, one.now) if before else units.value(one.metric, one.now)


def has_something_to_tell(one: MetricVerdict) -> bool:
    """Whether a gated metric deserves a row of its own: it is not simply OK."""
    return one.status is not Status.OK or one.clearly_better


def unchanged_lines(metrics: Sequence[MetricVerdict], width: int = WIDTH) -> list[str]:
    """Gated metrics that are OK, in a line: how many are within their margin, and how many exact ones are unchanged."""
    exact = [one for one in metrics if METRICS[one.metric].exact]
    others = [one for one in metrics if not METRICS[one.metric].exact]
    told = []
    if others:
        told.append(f"{units.many(len(others), 'metric')} OK: {_labels(others)}")
    if exact:
        told.append(f"{units.many(len(exact), 'exact metric')} unchanged: {_labels(exact)}")
    return [line for text in told for line in folded(text, width)]


def _labels(metrics: Sequence[MetricVerdict]) -> str:
    return ", ".join(METRICS[one.metric].label for one in metrics)
