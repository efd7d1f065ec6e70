"""Kernels of a device pass: the largest of both sides beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pytest_vllmperf.metrics.kernel_sums import KernelSums
from pytest_vllmperf.metrics.units import SECONDS
from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.report.attributions import brief
from pytest_vllmperf.report.escaping import plot_label
from pytest_vllmperf.report.pages.plots.scales import scale
from pytest_vllmperf.report.pages.shell import Figure

_MOST: Final = 12
_NAME: Final = 36
_ROW: Final = 27
"""Pixels of one kernel."""


def compared(found: Attribution) -> Figure | None:
    """The largest kernels of either side, before and now."""
    by_size = sorted(found.kernels, key=lambda one: -max(one.before.seconds, one.after.seconds))[:_MOST]
    if not by_size:
        return None
    names = [one.name for one in by_size]
    before, now = [one.before.seconds for one in by_size], [one.after.seconds for one in by_size]
    return _bars(names, (("before", before, "base"), ("now", now, "accent")))


def alone(sums: KernelSums) -> Figure | None:
    """The largest kernels of one side."""
    largest = list(sums.named.values())[:_MOST]
    if not largest:
        return None
    return _bars([one.name for one in largest], (("now", [one.seconds for one in largest], "accent"),))


def _bars(names: Sequence[str], sides: Sequence[tuple[str, Sequence[float], str]]) -> Figure:
    drawn = scale(SECONDS, [value for _, values, _ in sides for value in values])
    places = list(range(len(names)))
    traces: list[dict[str, Any]] = [
        {
            "type": "bar", "orientation": "h", "y": places, "x": drawn.all(values), "name": side,
            "marker": {"color": f"@{colour}"}, "hovertemplate": f"%{{x:,.4~g}} {drawn.unit}<extra>{side}</extra>",
        }
        for side, values, colour in sides
    ]  # fmt: skip
    return Figure(
        kind="kernels",
        title="GPU time by kernel",
        remark="of one iteration, the largest kernels",
        traces=tuple(traces),
        layout={
            "barmode": "group",
            "bargap": 0.35,
            "bargroupgap": 0.05,
            "showlegend": len(sides) > 1,
            "margin": {"t": 26},
            "legend": {"traceorder": "normal"},
            "xaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "rangemode": "tozero"},
            "yaxis": {
                "autorange": "reversed",
                "tickmode": "array",
                "tickvals": places,
                "ticktext": [plot_label(brief(name, _NAME)) for name in names],
                "showgrid": False,
            },
        },
        height=80 + _ROW * len(names),
        wide=True,
    )
