"""Memory of an engine's devices: what it is used for, and how it was filled over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pytest_vllmperf.metrics.units import BYTES, size
from pytest_vllmperf.records.check_report import EngineStart
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.report.ledger import ledger_rows
from pytest_vllmperf.report.pages.plots.scales import scale
from pytest_vllmperf.report.pages.shell import Figure

_PARTS: Final = {
    "context, NCCL": "p9",
    "weights": "p1",
    "peak activation": "p2",
    "non-torch": "p3",
    "CUDA graphs": "p4",
    "KV cache": "p6",
    "difference": "p5",
    "other processes": "p7",
    "headroom": "p8",
}
"""Rows of a ledger that add up to the device, with their colours."""
_LINES: Final = ("accent", "p2", "p3", "p4", "p5", "p6")
_SHADES: Final = {"loading": 10, "warm-up": 5, "measuring": 14}
"""Opacity of the field of a phase, in per cent."""


def ledger_bar(ledger: VramLedger) -> Figure | None:
    """A ledger as one bar; None where it knows nothing."""
    rows = {name: held for name, held in ledger_rows(ledger) if name in _PARTS}
    known = {name: held for name, held in rows.items() if held is not None and held > 0}
    if not known:
        return None
    drawn = scale(BYTES, [sum(known.values())])
    traces: list[dict[str, Any]] = [
        {
            "type": "bar", "orientation": "h", "y": [0], "x": [drawn.of(held)], "name": f"{name} {size(held)}",
            "marker": {"color": f"@{_PARTS[name]}", "line": {"width": 0}},
            "hovertemplate": f"{name} {size(held)}<extra></extra>",
        }
        for name, held in known.items()
    ]  # fmt: skip
    return Figure(
        kind="ledger",
        title="Memory by purpose",
        traces=tuple(traces),
        layout={
            "barmode": "stack",
            "showlegend": True,
            "margin": {"t": 10, "l": 12, "b": 40},
            "legend": {"traceorder": "normal", "y": 1.05},
            "xaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "rangemode": "tozero"},
            "yaxis": {"visible": False, "fixedrange": True},
        },
        height=150,
        wide=True,
    )


def timeline(engines: Sequence[EngineStart]) -> Figure | None:
    """The memory in use of the devices over time, of the first engine start that was watched, with its phases."""
    found = next((one.timeline for one in engines if one.timeline is not None and one.timeline.devices), None)
    if found is None:
        return None
    drawn = scale(BYTES, [held for device in found.devices for held in device.used_bytes])
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": f"GPU {number}",
            "x": [round(at, 3) for at in device.at], "y": drawn.all(device.used_bytes),
             "line": {"color": f"@{_LINES[number % len(_LINES)]}", "width": 2, "shape": "hv"},
            "hovertemplate": f"%{{y:,.4~g}} {drawn.unit} after %{{x:,.3~g}} s<extra>GPU {number}</extra>",
        }
        for number, device in enumerate(found.devices)
    ]  # fmt: skip
    shapes = [
        {"type": "rect", "x0": one.begin, "x1": one.end, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
         "fillcolor": f"@base/{_SHADES[one.name]}", "line": {"width": 0}}
        for one in found.phases
    ]  # fmt: skip
    names = [
        {"x": (one.begin + one.end) / 2, "y": 1, "yref": "paper", "yanchor": "bottom", "text": one.name,
         "showarrow": False, "font": {"size": 11, "color": "@muted"}}
        for one in found.phases
    ]  # fmt: skip
    return Figure(
        kind="timeline",
        title="Memory in use over time",
        remark="first engine start, all processes of the device",
        traces=tuple(traces),
        layout={
            "shapes": shapes,
            "annotations": names,
            "margin": {"t": 22},
            "showlegend": len(found.devices) > 1,
            "xaxis": {"title": {"text": "seconds since the engine's start"}, "tickformat": ",~g", "showgrid": False},
            "yaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "rangemode": "tozero", "nticks": 5},
        },
        height=210,
        wide=True,
    )
