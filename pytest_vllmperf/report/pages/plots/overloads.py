"""Overload: what became of the requests of each phase, and the rates beside the server's capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_vllmperf.records.overload import Counts, Overload
from pytest_vllmperf.report.pages.shell import Figure


def outcomes(phases: Sequence[tuple[str, Counts]]) -> Figure | None:
    """The shares of requests that were answered in time, late, shed, or failed, a bar for each phase.

    Args:
        phases: name and counts.
    """
    known = [(name, counts) for name, counts in phases if counts.due]
    if not known:
        return None
    kinds = (
        ("within the SLO", "ok", [one.kept for _, one in known]),
        ("late", "warn", [one.late for _, one in known]),
        ("shed", "base", [one.shed for _, one in known]),
        ("refused or broken", "bad", [one.refused + sum(one.broken.values()) for _, one in known]),
    )
    places = list(range(len(known)))
    traces: list[dict[str, Any]] = [
        {
            "type": "bar", "orientation": "h", "y": places, "name": name, "marker": {"color": f"@{colour}"},
            "x": [round(number / one.due, 5) for number, (_, one) in zip(numbers, known, strict=True)],
            "customdata": numbers, "hovertemplate": f"%{{customdata:,}} {name} (%{{x:.1%}})<extra></extra>",
        }
        for name, colour, numbers in kinds
        if any(numbers)
    ]  # fmt: skip
    return Figure(
        kind="overload-outcomes",
        title="What became of the requests",
        traces=tuple(traces),
        layout={
            "barmode": "stack",
            "showlegend": True,
            "margin": {"t": 26},
            "legend": {"traceorder": "normal"},
            "xaxis": {"range": [0, 1], "tickformat": ".0%", "showgrid": False},
            "yaxis": {
                "autorange": "reversed", "tickmode": "array", "tickvals": places,
                "ticktext": [name for name, _ in known], "showgrid": False,
            },
        },
        height=90 + 26 * len(known),
        wide=True,
    )  # fmt: skip


def rates(seen: Overload) -> Figure | None:
    """Offered rate, capacity, and goodput at both."""
    if seen.load is None:
        return None
    names = ["offered", "capacity", "goodput at capacity", "goodput under overload"]
    values = [seen.offered, seen.capacity, seen.goodput_at_capacity, seen.goodput_rate]
    places = list(range(len(names)))
    trace = {
        "type": "bar", "orientation": "h", "y": places, "x": [float(f"{one:.6g}") for one in values],
        "marker": {"color": ["@base", "@base", "@accent", "@accent"]},
        "hovertemplate": "%{x:,.4~g} req/s<extra></extra>",
    }  # fmt: skip
    return Figure(
        kind="overload-rates",
        title="Goodput beside the offered load",
        traces=(trace,),
        layout={
            "xaxis": {"title": {"text": "req/s"}, "tickformat": ",~g", "rangemode": "tozero"},
            "yaxis": {
                "autorange": "reversed", "tickmode": "array", "tickvals": places, "ticktext": names, "showgrid": False,
            },
        },
        height=190,
    )  # fmt: skip
