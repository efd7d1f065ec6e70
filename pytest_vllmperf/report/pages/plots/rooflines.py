"""The roofline of a measurement (Williams et al., 2009): how near it came to what its GPUs can do at most."""

from __future__ import annotations

from math import log10
from typing import Any, Final

from pytest_vllmperf.metrics.table import AllMetrics
from pytest_vllmperf.records.check_report import MeasurementReport
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.report.pages.shell import Figure

_TERA: Final = 1e12
_DECADES: Final = 1.2
"""So much of the axis of intensity is in sight on either side of what is drawn, in powers of ten."""


def missing(measured: MeasurementReport) -> str:
    """What a roofline would need and nobody told, in words; empty where all is known, and where there is no GPU."""
    limits = measured.roofline
    if limits is None:
        return ""
    parts = {
        "the peak of this GPU's arithmetic": limits.flops,
        "the number of weights that a token is multiplied with": limits.weights,
        AllMetrics.model_bandwidth_utilization.label: _value(measured, AllMetrics.model_bandwidth_utilization.name),
        AllMetrics.total_token_throughput.label: _value(measured, AllMetrics.total_token_throughput.name),
    }
    return ", ".join(name for name, value in parts.items() if not value)


def roofline(measured: MeasurementReport) -> Figure | None:
    """Operations/s over operations per byte moved, below the two limits; None where a part is unknown."""
    limits, place = measured.roofline, _place(measured)
    if limits is None or limits.flops is None or place is None:
        return None
    intensity, flops = place
    ridge = limits.flops / limits.memory_bandwidth
    low, high = min(intensity, ridge) / 10**_DECADES, max(intensity, ridge) * 10**_DECADES
    roof = min(intensity * limits.memory_bandwidth, limits.flops)
    share = flops / roof
    return Figure(
        kind="roofline",
        title="Roofline",
        remark=f"{share:.0%} of what the GPUs can do at this intensity".replace("%", " %"),
        traces=(_roof(limits, low, ridge, high), _point(intensity, flops, share)),
        layout={
            "xaxis": {"type": "log", "title": {"text": "operations per byte"}, "range": [log10(low), log10(high)],
                      "tickformat": ",~g", "dtick": 1},
            "yaxis": {"type": "log", "title": {"text": "Tops/s"}, "tickformat": ",~g", "dtick": 1},
        },
        height=230,
    )  # fmt: skip


def _place(measured: MeasurementReport) -> tuple[float, float] | None:
    """Operations per byte, and operations a second; attention is left out of both."""
    limits = measured.roofline
    used = _value(measured, AllMetrics.model_bandwidth_utilization.name)
    tokens = _value(measured, AllMetrics.total_token_throughput.name)
    if limits is None or not limits.weights or not used or not tokens:
        return None
    flops = 2 * limits.weights * tokens
    return flops / (used * limits.memory_bandwidth), flops


def _value(measured: MeasurementReport, name: str) -> float | None:
    metric = measured.metrics.get(name)
    return None if metric is None else metric.value


def _roof(limits: RooflineLimits, low: float, ridge: float, high: float) -> dict[str, Any]:
    peak = limits.flops or 0.0
    return {
        "type": "scatter", "mode": "lines", "x": [_short(one) for one in (low, ridge, high)],
        "y": [_short(one / _TERA) for one in (low * limits.memory_bandwidth, peak, peak)],
        "line": {"color": "@base", "width": 2}, "hoverinfo": "skip",
    }  # fmt: skip


def _point(intensity: float, flops: float, share: float) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "x": [_short(intensity)], "y": [_short(flops / _TERA)],
        "marker": {"color": "@accent", "size": 11, "symbol": "diamond"},
        "hovertemplate": f"%{{y:,.3~g}} Tops/s at %{{x:,.3~g}} operations per byte, {share:.1%} of the limit"
                         "<extra></extra>",
    }  # fmt: skip


def _short(number: float) -> float:
    return float(f"{number:.6g}")
