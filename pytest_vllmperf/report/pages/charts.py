"""Charts of trends. They are plain SVG, which the style sheet colours: a page may have thousands of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from pytest_vllmperf.records.trends import RunOfHistory, Trend
from pytest_vllmperf.report import trends as words
from pytest_vllmperf.report import units
from pytest_vllmperf.report.pages.markup import Html, tag

_WIDTH, _HEIGHT = 640, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 636.0, 10.0, 110.0
_LEAST_SPAN: Final = 0.02
"""How much of its middle a chart spans at least."""
_FACTORS: Final = {"ms": 1e3, "us": 1e6, "GiB": 2.0**-30, "MiB": 2.0**-20, "KiB": 2.0**-10, "%": 100.0, "MHz": 1e-6}
"""What a stored value is multiplied with, where a report shows another unit than the stored one."""


def chart(trend: Trend, runs: Mapping[RunOfHistory, int], most: int = 0) -> Html:
    """The chart of a trend, with what is to be known of it above and the runs that it spans below.

    Args:
        trend: what is shown.
        runs: number of each run in the list that the page has.
        most: so many of the newest values are drawn at most; 0 for all.
    """
    drawn = _newest(trend, most) if most else trend
    cut = f"; the newest {len(drawn.values):,} are drawn" if len(drawn.values) < len(trend.values) else ""
    caption = tag("figcaption", trend.metric.label, tag("span", _caption(trend) + cut, class_="muted"))
    if not drawn.values:
        return tag("figure", caption, tag("p", "no value", class_="muted"))
    text = words.text_of(trend)
    low, high = _bounds(drawn.values)
    factor, unit = _scale(text(high))
    scale = tag("div", tag("span", text(high)), tag("span", text(low)), class_="scale")
    return tag(
        "figure",
        caption,
        tag("div", scale, _drawing(drawn, low, high), class_="chart"),
        tag("output", f"{drawn.runs[0].minute} to {drawn.runs[-1].minute}"),
        data_values=",".join([f"{value * factor:.4g}" for value in drawn.values]),
        data_runs=_places([runs[run] for run in drawn.runs]),
        data_unit=unit,
    )


def _places(numbers: Sequence[int]) -> str:
    """Numbers with commas; the first alone where they count up one by one, as they mostly do."""
    first = numbers[0]
    return str(first) if list(numbers) == list(range(first, first + len(numbers))) else ",".join(map(str, numbers))


def _newest(trend: Trend, most: int) -> Trend:
    """The newest values of a trend, with the changes among them."""
    gone = max(0, len(trend.values) - most)
    shifts = tuple(replace(one, at=one.at - gone) for one in trend.shifts if one.at > gone)
    return replace(trend, shifts=shifts, times=trend.times[gone:], values=trend.values[gone:], runs=trend.runs[gone:])


def _caption(trend: Trend) -> str:
    """What a chart shows, in a line: how many values, the newest level, and what does not count."""
    levels = words.levels(trend)
    parts = [units.many(len(trend.values), "run")]
    if levels:
        parts.append(f"level {words.text_of(trend)(levels[-1])}")
    if len(levels) > 1 and levels[0]:
        parts.append(f"{units.percent(levels[-1] / levels[0] - 1)} since the first")
    parts.append(f"{trend.metric.better} is better")
    parts += [f"{number} {why}" for why, number in trend.left_out]
    if trend.missing:
        parts.append(f"newest: {trend.missing}")
    if trend.began is not None:
        parts.append(f"not compared with runs before {trend.began.first_after.minute}")
    return "; ".join(parts)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest value of a chart: noise far below a per cent is not to look like a change."""
    low, high = min(values), max(values)
    middle = (low + high) / 2
    least = abs(middle) * _LEAST_SPAN / 2
    return min(low, middle - least), max(high, middle + least)


def _scale(text: str) -> tuple[float, str]:
    """What stored values are multiplied with to be read in the unit of a text, and that unit."""
    unit = text.rpartition(" ")[2] if " " in text else ""
    return _FACTORS.get(unit, 1.0), unit


def _drawing(trend: Trend, low: float, high: float) -> Html:
    """The values as dots, the levels as lines, the changes as marks; lower is lower, and zero is not at the bottom."""
    count, span = len(trend.values), (high - low) or 1.0
    step = (_RIGHT - _LEFT) / max(count - 1, 1)

    def x(at: float) -> str:
        return f"{_LEFT + at * step:.0f}"

    def y(value: float) -> str:
        return f"{_BOTTOM - (value - low) / span * (_BOTTOM - _TOP):.0f}" if high > low else "60"

    dots = "".join([f"M{x(at)} {y(value)}h0" for at, value in enumerate(trend.values)])
    ends = [0, *(shift.at for shift in trend.shifts), count]
    lines = "".join(
        f"M{x(max(start - 0.5, 0))} {y(level)}H{x(min(end - 0.5, max(count - 1, 0)))}"
        for (start, end), level in zip(pairwise(ends), words.levels(trend), strict=True)
    )
    marks = [
        tag(
            "path",
            tag("title", f"{units.percent(one.change)}: {words.cause(one)}"),
            class_=f"mark {'bad' if one.worse else 'info'}",
            d=f"M{x(one.at - 0.5)} 0V{_HEIGHT}",
        )
        for one in trend.shifts
    ]
    paths = [tag("path", class_="level", d=lines), tag("path", class_="dots", d=dots), *marks]
    return tag("svg", *paths, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", preserveAspectRatio="none", role="img")
