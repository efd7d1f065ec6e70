"""Strip plots: every engine start of the stored sessions beside the new ones, with margin and interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.check_report import CheckReport, Judged, MetricReport
from pytest_vllmperf.report.pages.plots.scales import Scale, metric_scale
from pytest_vllmperf.report.pages.shell import Figure
from pytest_vllmperf.report.pages.wording import judged_words, tone

_SPREAD: Final = 0.16
"""Between neighbouring engine starts of a session, in sessions."""
_WORSE_ROOM: Final = 1.6
"""So many margins are in sight beyond the baseline, at least."""
_NOW_SHARE: Final = 0.25
"""Of the width of all stored sessions, which the new ones have at least."""


@dataclass(frozen=True)
class _Places:
    """Where sessions stand along the axis.

    Attributes:
        stored: how many sessions, at 1, 2 and so on.
    """

    stored: int

    @property
    def room(self) -> float:
        """Of the new engine starts."""
        return max(1.0, self.stored * _NOW_SHARE)

    @property
    def now(self) -> float:
        """The middle of the new engine starts."""
        return self.stored + 0.5 + self.room / 2

    def spread(self, count: int, middle: float, room: float = 1.0) -> list[float]:
        """Places of so many engine starts side by side."""
        step = min(_SPREAD, 0.6 / max(1, count)) * room
        return [round(middle + (at - (count - 1) / 2) * step, 3) for at in range(count)]


def strip(check: CheckReport, metric: MetricReport) -> Figure | None:
    """One judged metric over the stored sessions, oldest first, then now.

    Args:
        check: that it belongs to.
        metric: of that check.
    """
    judged = metric.judged
    if judged is None or judged.baseline is None:
        return None
    stored = _stored(check, metric)
    now = [list(one) for one in metric.samples]
    if not stored or not any(now):
        return None
    numbers = [value for engines in (*stored, *now) for value in engines]
    drawn = metric_scale(metric.name, [*numbers, judged.baseline])
    places, colour = _Places(len(stored)), _colour(metric, judged)
    traces = [_sessions(stored, places, drawn), _iterations(now, places, drawn), _engines(now, places, colour, drawn)]
    interval = _interval(judged, places, colour, drawn)
    return Figure(
        kind="strip",
        title=metric.label,
        remark=judged_words(metric),
        traces=(*traces, *([interval] if interval else [])),
        layout=_layout(check, metric, judged, drawn, places),
    )


def _stored(check: CheckReport, metric: MetricReport) -> list[list[float]]:
    """For each session its engine starts; for a check in turns the engine starts of the reference are one."""
    if metric.judged is not None and metric.judged.against:
        engines = [median(one) for one in metric.reference if one]
        return [engines] if engines else []
    sessions = () if check.baseline is None else check.baseline.sessions
    found = [list(session.values.get(metric.name, ())) for session in sessions]
    return [one for one in found if one]


def _sessions(stored: Sequence[Sequence[float]], places: _Places, drawn: Scale) -> dict[str, Any]:
    x = [place for number, engines in enumerate(stored, 1) for place in places.spread(len(engines), number)]
    y = drawn.all(value for engines in stored for value in engines)
    return {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "name": "stored engine start",
        "marker": {"color": "@base", "size": 6.5, "opacity": 0.75},
        "hovertemplate": f"stored: %{{y:,.4~g}} {drawn.unit}<extra></extra>",
    }  # fmt: skip


def _iterations(now: Sequence[Sequence[float]], places: _Places, drawn: Scale) -> dict[str, Any]:
    """The new samples behind the medians of their engine starts."""
    x = [at for at, values in zip(places.spread(len(now), places.now, places.room), now, strict=True) for _ in values]
    return {
        "type": "scatter", "mode": "markers", "x": x, "y": drawn.all(value for values in now for value in values),
        "marker": {"color": "@accent/30", "size": 4}, "hoverinfo": "skip",
    }  # fmt: skip


def _engines(now: Sequence[Sequence[float]], places: _Places, colour: str, drawn: Scale) -> dict[str, Any]:
    known = [
        (at, median(values))
        for at, values in zip(places.spread(len(now), places.now, places.room), now, strict=True)
        if values
    ]
    return {
        "type": "scatter", "mode": "markers", "x": [at for at, _ in known], "y": drawn.all(one for _, one in known),
        "marker": {"color": f"@{colour}", "size": 9, "symbol": "diamond", "line": {"width": 0}},
        "hovertemplate": f"now: %{{y:,.4~g}} {drawn.unit}<extra></extra>",
    }  # fmt: skip


def _interval(judged: Judged, places: _Places, colour: str, drawn: Scale) -> dict[str, Any] | None:
    """The interval of the change, at the level that it says."""
    if judged.low is None or judged.high is None or judged.change is None or judged.baseline is None:
        return None
    level, low, high = (judged.baseline * (1 + one) for one in (judged.change, judged.low, judged.high))
    return {
        "type": "scatter", "mode": "markers", "x": [round(places.now + 0.4 * places.room, 3)], "y": [drawn.of(level)],
        "marker": {"color": f"@{colour}", "size": 1},
        "error_y": {
            "type": "data", "symmetric": False, "array": [drawn.of(max(0.0, high - level))],
            "arrayminus": [drawn.of(max(0.0, level - low))], "color": f"@{colour}", "thickness": 2,
            "width": 5,
        },
        "hovertemplate": f"interval around %{{y:,.4~g}} {drawn.unit}<extra></extra>",
    }  # fmt: skip


def _colour(metric: MetricReport, judged: Judged) -> str:
    """That of the verdict, where it decides and is not simply good."""
    found = tone(judged.status)
    return found if metric.gated and found in ("warn", "bad", "info") else "accent"


def _layout(check: CheckReport, metric: MetricReport, judged: Judged, drawn: Scale, places: _Places) -> dict[str, Any]:
    baseline = judged.baseline or 0.0
    worse = baseline * (1 + judged.margin if metric.better == "lower" else 1 - judged.margin)
    shapes: list[dict[str, Any]] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": drawn.of(baseline), "y1": drawn.of(baseline),
         "line": {"color": "@base", "width": 1}},
        {"type": "line", "x0": places.stored + 0.5, "x1": places.stored + 0.5, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"color": "@line", "width": 1}},
    ]  # fmt: skip
    if judged.margin and not (metric.name in METRICS and METRICS[metric.name].exact):
        ends = sorted((baseline, worse))
        shapes.append(
            {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": drawn.of(ends[0]), "y1": drawn.of(ends[1]),
             "fillcolor": "@base/12", "line": {"width": 0}, "layer": "below"}
        )  # fmt: skip
    return {
        "shapes": shapes,
        "xaxis": {"tickmode": "array", "tickvals": [1, places.now], "ticktext": [_first(check, judged), "now"],
                  "range": [0.4, places.now + 0.6 * places.room], "tickangle": 0, "showgrid": False},
        "yaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "nticks": 5, **_range(judged, drawn)},
    }  # fmt: skip


def _range(judged: Judged, drawn: Scale) -> dict[str, Any]:
    """All that is drawn, and enough beyond the baseline that small noise does not look large."""
    return {"autorangeoptions": {"include": [
        drawn.of((judged.baseline or 0.0) * (1 + sign * _WORSE_ROOM * judged.margin)) for sign in (-1, 1)
    ]}} if judged.margin else {"rangemode": "normal"}  # fmt: skip


def _first(check: CheckReport, judged: Judged) -> str:
    """What stands below the oldest session: its date."""
    if judged.against or check.baseline is None:
        return "reference"
    return check.baseline.sessions[0].recorded[:10]
