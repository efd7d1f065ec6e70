"""Memory of an engine's devices: what it is used for."""

from __future__ import annotations

from typing import Any, Final

from pytest_vllmperf.metrics.units import BYTES, size
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.report.ledger import ledger_rows
from pytest_vllmperf.report.pages.plots.scales import scale
from pytest_vllmperf.report.pages.shell import Figure

_PARTS: Final = {
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
