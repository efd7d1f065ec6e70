"""Trends as HTML: a page that needs no other file, or a section of one. Charts are SVG; all texts are escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Final

from pytest_vllmperf.records.trends import RunOfHistory, Shift, Trend, Trends
from pytest_vllmperf.report import trends as words
from pytest_vllmperf.report import units
from pytest_vllmperf.report.trend_style import SCRIPT, STYLE

MARK: Final = "<!-- pytest-vllmperf history -->"
"""The first line of every page: a file that begins with it may be replaced."""
_WIDTH, _HEIGHT = 640, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 636.0, 10.0, 110.0
_LEAST_SPAN: Final = 0.02
"""How much of its middle a chart spans at least."""
_FACTORS: Final = {"ms": 1e3, "us": 1e6, "GiB": 2.0**-30, "MiB": 2.0**-20, "KiB": 2.0**-10, "%": 100.0, "MHz": 1e-6}
"""What a stored value is multiplied with, where a report shows another unit than the stored one."""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(found: Trends, title: str) -> str:
    """A whole page.

    Args:
        found: what is to be shown.
        title: of the page.
    """
    return (
        f"{MARK}\n<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{shown(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{shown(title)}</h1>{section(found)}<script>{SCRIPT}</script></body></html>\n"
    )


def section(found: Trends) -> str:
    """A part of a page: the changes, the newest first, and a chart for each series.

    A page that holds it needs `trend_style.STYLE` and, for what a pointer shows, `trend_style.SCRIPT` behind it.

    Args:
        found: what is to be shown.
    """
    runs: dict[RunOfHistory, int] = {}
    for trend in found.trends:
        for run in trend.runs:
            runs.setdefault(run, len(runs))
    labels = [f"{run.minute}, commit {words.commit(run)}" for run in runs]
    parts = [
        '<section class="vllmperf-trends">',
        f"<p>{shown(words.headline(found))}</p>",
        "".join(f"<p class=note>{shown(note)}</p>" for note in words.notes(found)),
        *_changes(found),
        "<h2>Series</h2>",
        '<input class="filter" type="search" placeholder="filter by test or metric" aria-label="filter">',
        *_charts(found.trends, runs),
        f'<script type="application/json" class="runs">{_json(labels)}</script>',
        "</section>",
    ]
    return "\n".join(parts)


def _changes(found: Trends) -> Iterator[str]:
    happened = words.events(found.trends)
    if not happened:
        return
    yield "<h2>Changes, the newest first</h2>"
    for event in happened:
        place = f' <span class="profile">{shown(event.profile)}</span>'
        yield f'<div class="event"><h3>{shown(event.first_after.minute)}{place}</h3><p>{shown(event.cause)}</p>'
        if event.not_compared:
            names = ", ".join(map(shown, event.not_compared))
            yield f'<p class="not-compared">Not compared with the runs before: {names}</p>'
        if event.shifts:
            rows = "".join(_change_row(trend, shift) for trend, shift in event.shifts)
            yield f"<table><tbody>{rows}</tbody></table>"
        yield "</div>"


def _change_row(trend: Trend, shift: Shift) -> str:
    text = words.text_of(trend)
    levels = units.joined(text(shift.before), text(shift.after))
    return (
        f"<tr><td>{_verdict(shift)}</td><td>{shown(trend.id.subject)}</td><td>{shown(trend.metric.label)}</td>"
        f"<td class=number>{shown(units.percent(shift.change))}</td><td class=number>{shown(levels)}</td></tr>"
    )


def _verdict(shift: Shift) -> str:
    word = "worse" if shift.worse else "better"
    sign = "▼" if (shift.after < shift.before) else "▲"
    return f'<span class="{word}">{sign} {word}</span>'


def _charts(trends: Sequence[Trend], runs: dict[RunOfHistory, int]) -> Iterator[str]:
    """A heading for each check, and a figure for each of its series."""
    for (subject, profile), group in groupby(trends, lambda trend: (trend.id.subject, trend.id.profile)):
        figures = "".join(_figure(trend, runs) for trend in group)
        heading = f'<h3>{shown(subject)} <span class="profile">{shown(profile)}</span></h3>'
        yield f'<article>{heading}<div class="charts">{figures}</div></article>'


def _figure(trend: Trend, runs: dict[RunOfHistory, int]) -> str:
    caption = f"<figcaption><b>{shown(trend.metric.label)}</b> {shown(_caption(trend))}</figcaption>"
    if not trend.values:
        return f"<figure>{caption}<p class=note>no value</p></figure>"
    text = words.text_of(trend)
    low, high = _bounds(trend.values)
    factor, unit = _scale(text(high))
    numbers = ",".join([f"{value * factor:.4g}" for value in trend.values])
    where = ",".join([str(runs[run]) for run in trend.runs])
    span = f"{trend.runs[0].minute} to {trend.runs[-1].minute}"
    scale = f'<div class="scale"><span>{shown(text(high))}</span><span>{shown(text(low))}</span></div>'
    return (
        f'<figure data-values="{numbers}" data-runs="{where}" data-unit="{shown(unit)}">{caption}'
        f'<div class="plot">{scale}{_chart(trend, low, high)}</div><output>{shown(span)}</output></figure>'
    )


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


def _chart(trend: Trend, low: float, high: float) -> str:
    """The values as dots, the levels as lines, the changes as marks; lower is lower, and zero is not at the bottom."""
    count, span = len(trend.values), (high - low) or 1.0
    step = (_RIGHT - _LEFT) / max(count - 1, 1)

    def x(at: float) -> str:
        return f"{_LEFT + at * step:.1f}"

    def y(value: float) -> str:
        return f"{_BOTTOM - (value - low) / span * (_BOTTOM - _TOP):.1f}" if high > low else "60"

    dots = "".join([f"M{x(at)} {y(value)}h0" for at, value in enumerate(trend.values)])
    ends = [0, *(shift.at for shift in trend.shifts), count]
    lines = "".join(
        f"M{x(max(start - 0.5, 0))} {y(level)}H{x(min(end - 0.5, max(count - 1, 0)))}"
        for (start, end), level in zip(pairwise(ends), words.levels(trend), strict=True)
    )
    marks = "".join(
        f'<path class="mark {"worse" if one.worse else "better"}" d="M{x(one.at - 0.5)} 0V{_HEIGHT}">'
        f"<title>{shown(units.percent(one.change))}: {shown(words.cause(one))}</title></path>"
        for one in trend.shifts
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img">'
        f'<path class="level" d="{lines}"/><path class="dots" d="{dots}"/>{marks}</svg>'
    )


def shown(text: str) -> str:
    r"""A text of others in HTML, within an element or an attribute: what cannot be printed is shown as `\x1b` is."""
    plain = text if text.isprintable() else "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return html.escape(plain)


def _json(value: object) -> str:
    """JSON inside of a script: nothing in it ends the script."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
