"""Sweeps: curves of throughput over load with their knees, and the front of throughput against the speed of a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.units import SECONDS
from pytest_vllmperf.records.sweep import Figures, Findings
from pytest_vllmperf.report import points, units
from pytest_vllmperf.report.escaping import plot_label
from pytest_vllmperf.report.pages.plots.scales import scale
from pytest_vllmperf.report.pages.shell import Figure

_COLOURS: Final = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
_NAME: Final = 48
_WITH_LEGEND: Final = 8
"""More curves than this are told apart by hovering alone."""
_OFF: Final = {"mode": "markers", "marker": {"color": "@base/70", "size": 6}}
_ON: Final = {
    "mode": "lines+markers",
    "marker": {"color": "@accent", "size": 8},
    "line": {"color": "@accent/50", "width": 1.5},
}


def curves(found: Findings) -> list[Figure]:
    """Throughput and TTFT over the load, a line for each combination of the other axes; none without a load."""
    if not found.knees:
        return []
    axis = found.knees[0].axis
    groups: dict[str, list[Figures]] = {}
    for one in found.figures:
        others = points.settings({name: value for name, value in one.result.settings.items() if name != axis})
        groups.setdefault(others, []).append(one)
    ordered = {name: sorted(group, key=lambda one: one.result.settings[axis]) for name, group in groups.items()}
    return [
        _lines("sweep-throughput", "Output throughput over load", axis, ordered, "throughput", "tok/s", found),
        _lines("sweep-ttft", f"{METRICS[found.ttft].label} over load", axis, ordered, "ttft", SECONDS.symbol, found),
    ]


def _lines(
    kind: str, title: str, axis: str, groups: dict[str, list[Figures]], field: str, unit: str, found: Findings
) -> Figure:
    values = [getattr(one, field) for group in groups.values() for one in group]
    drawn = scale(unit, values)
    traces: list[dict[str, Any]] = []
    for number, (name, group) in enumerate(groups.items()):
        known = [one for one in group if one.result.sound and getattr(one, field) is not None]
        knees = [knee.load for knee in found.knees if points.settings(knee.others) == name]
        loads = [one.result.settings[axis] for one in known]
        label = plot_label(_short(name) or "all")
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": label,
            "x": loads, "y": drawn.all(getattr(one, field) for one in known),
            "line": {"color": f"@{_COLOURS[number % len(_COLOURS)]}", "width": 2},
            "marker": {"size": [11 if load in knees else 5 for load in loads],
                       "symbol": ["star" if load in knees else "circle" for load in loads]},
            "hovertemplate": f"%{{y:,.4~g}} {drawn.unit} at %{{x}}<extra>{label}</extra>",
        })  # fmt: skip
    several = 1 < len(groups) <= _WITH_LEGEND
    return Figure(
        kind=kind,
        title=title,
        remark="star: the knee",
        traces=tuple(traces),
        layout={
            "showlegend": several,
            "margin": {"t": 26 if several else 8},
            "xaxis": {"title": {"text": plot_label(axis)}, "tickformat": ",~g"},
            "yaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "rangemode": "tozero"},
        },
        height=280,
    )


def front(found: Findings) -> Figure | None:
    """Every point by throughput and the speed of a user; those that no other is better than are joined."""
    known = [
        (place, one)
        for place, one in enumerate(found.figures)
        if one.result.sound and one.throughput is not None and one.per_user is not None
    ]
    if not known:
        return None
    best = set(found.front)
    on = sorted(((place, one) for place, one in known if place in best), key=lambda pair: pair[1].per_user or 0.0)
    off = [(place, one) for place, one in known if place not in best]
    traces = [
        _points([one for _, one in off], found, "other points", _OFF),
        _points([one for _, one in on], found, "front", _ON),
    ]
    return Figure(
        kind="pareto",
        title="Pareto front",
        remark="throughput against the speed of a user",
        traces=tuple(one for one in traces if one["x"]),
        layout={
            "showlegend": bool(off),
            "margin": {"t": 26},
            "xaxis": {"title": {"text": "tokens/s a user"}, "tickformat": ",~g", "rangemode": "tozero"},
            "yaxis": {"title": {"text": "output tokens/s"}, "tickformat": ",~g", "rangemode": "tozero"},
        },
        height=280,
    )


def _points(chosen: Sequence[Figures], found: Findings, name: str, look: Mapping[str, Any]) -> dict[str, Any]:
    texts = [
        plot_label(f"{_short(points.settings(one.result.settings))}: {units.value(found.ttft, one.ttft)}")
        for one in chosen
    ]
    return {
        "type": "scatter", "name": name, "text": texts,
        "x": [_round(one.per_user) for one in chosen], "y": [_round(one.throughput) for one in chosen],
        "hovertemplate": "%{text}<br>%{y:,.4~g} tok/s, %{x:,.4~g} tok/s a user<extra></extra>",
        **look,
    }  # fmt: skip


def _round(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
