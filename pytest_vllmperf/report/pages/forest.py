"""A change with its interval as a small picture in a row of a table; it needs no script."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.verdict import MetricVerdict
from pytest_vllmperf.report.pages.markup import Html
from pytest_vllmperf.report.pages.wording import tone
from pytest_vllmperf.stats import Direction

_WIDTH: Final = 132
_MIDDLE: Final = 66.0
_MARGIN: Final = 16.0
"""Pixels of one margin, so that rows with different margins compare."""
_MOST: Final = 62.0


def forest(one: MetricVerdict, *, decides: bool = True) -> Html:
    """The interval of a change beside no change and the margin; empty where there is no interval.

    Args:
        one: the metric, judged.
        decides: whether it is gated; else it has no colour.
    """
    if one.low is None or one.high is None or one.change is None or not one.margin or one.metric not in METRICS:
        return Html()
    low, high, at = (_place(value, one.margin) for value in (one.low, one.high, one.change))
    band = _MIDDLE - _MARGIN if METRICS[one.metric].better is Direction.HIGHER else _MIDDLE
    return Html(
        f'<svg class="forest {tone(one.status) if decides else "none"}" viewBox="0 0 {_WIDTH} 18" aria-hidden="true">'
        f'<rect class="band" x="{band:g}" y="1" width="{_MARGIN:g}" height="16"/>'
        f'<line class="zero" x1="{_MIDDLE:g}" x2="{_MIDDLE:g}" y1="1" y2="17"/>'
        f'<line class="ci" x1="{low:g}" x2="{max(high, low + 0.1):g}" y1="9" y2="9"/>'
        f"{_dot(at)}</svg>"
    )


def _dot(at: float) -> str:
    """The change; an arrow where it lies beyond the picture."""
    if abs(at - _MIDDLE) < _MOST:
        return f'<circle class="dot" cx="{at:g}" cy="9" r="3.6"/>'
    tip = 4 if at > _MIDDLE else -4
    return f'<path class="dot" d="M{at - tip:g} 4L{at + tip:g} 9L{at - tip:g} 14Z"/>'


def _place(change: float, margin: float) -> float:
    return round(_MIDDLE + max(-_MOST, min(_MOST, change / margin * _MARGIN)), 1)
