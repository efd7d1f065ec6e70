"""Single requests: their latencies as distributions, and over the time of an iteration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10
from typing import Any, Final

from pytest_vllmperf.metrics.units import SECONDS
from pytest_vllmperf.records.requests import Requests
from pytest_vllmperf.report.pages.plots.scales import COARSE, distribution, scale
from pytest_vllmperf.report.pages.shell import Figure

_MOST: Final = 300
"""Points of a scatter plot."""
_FEWEST: Final = 3
_DECADES: Final = 1.5


def distributions(found: Requests) -> Figure | None:
    """TTFT, TPOT and E2E latency of all requests, on a logarithmic scale, as they differ by orders of magnitude."""
    columns = [
        (label, _known(values)) for label, values in (("TPOT", found.tpot), ("TTFT", found.ttft), ("E2E", found.e2e))
    ]
    known = [(label, values) for label, values in columns if len(values) >= _FEWEST]
    if not known:
        return None
    drawn = scale(SECONDS, [max(values) for _, values in known], COARSE)
    traces: list[dict[str, Any]] = []
    for (label, values), colour in zip(known, ("p2", "p1", "p3"), strict=False):
        ordered, shares = distribution(values)
        traces.append({
            "type": "scatter", "mode": "lines", "x": drawn.all(ordered), "y": shares, "name": label,
            "line": {"color": f"@{colour}", "width": 2, "shape": "hv"},
            "hovertemplate": f"%{{y:.1%}} within %{{x:,.4~g}} {drawn.unit}<extra>{label}</extra>",
        })  # fmt: skip
    return Figure(
        kind="requests-cdf",
        title="Latencies of single requests, now",
        remark=f"share of {len(found):,} requests of all iterations",
        traces=tuple(traces),
        layout={
            "showlegend": True,
            "margin": {"t": 26},
            "xaxis": {"type": "log", "title": {"text": drawn.unit}, "tickformat": ",~g", **_ticks(known)},
            "yaxis": {"range": [0, 1.02], "tickformat": ".0%", "nticks": 5},
        },
    )


def over_time(found: Requests) -> Iterator[Figure]:
    """TTFT and TPOT of single requests by when each began in its iteration, a colour for each engine start."""
    for label, values in (("TTFT", found.ttft), ("TPOT", found.tpot)):
        figure = _scattered(found, label, values)
        if figure is not None:
            yield figure


def _scattered(found: Requests, label: str, values: Sequence[float | None]) -> Figure | None:
    rows = [
        (engine, at, value)
        for engine, at, value in zip(found.engine, found.started, values, strict=True)
        if at is not None and value is not None
    ]
    if len(rows) < _FEWEST or len({at for _, at, _ in rows}) < _FEWEST:  # all at once: there is no time to show
        return None
    rows = rows[:: max(1, -(-len(rows) // _MOST))]
    along, up = (scale(SECONDS, [row[column] for row in rows], COARSE) for column in (1, 2))
    traces: list[dict[str, Any]] = []
    for engine in sorted({engine for engine, _, _ in rows}):
        own = [row for row in rows if row[0] == engine]
        traces.append({
            "type": "scatter", "mode": "markers", "x": along.all(at for _, at, _ in own),
            "y": up.all(value for _, _, value in own), "name": f"engine start {engine}",
            "marker": {"size": 4, "color": f"@p{(engine - 1) % 6 + 1}/60"},
            "hovertemplate": f"{label} %{{y:,.4~g}} {up.unit}, begun at %{{x:,.4~g}} {along.unit}"
                             f"<extra>engine start {engine}</extra>",
        })  # fmt: skip
    return Figure(
        kind="requests-over-time",
        title=f"{label} over the time of an iteration",
        remark="by when each request began",
        traces=tuple(traces),
        layout={
            "xaxis": {"title": {"text": along.unit}, "tickformat": ",~g", "nticks": 6, "showgrid": False},
            "yaxis": {"title": {"text": up.unit}, "tickformat": ",~g", "nticks": 5, "rangemode": "tozero"},
        },
    )


def _ticks(known: Sequence[tuple[str, Sequence[float]]]) -> dict[str, int]:
    """Powers of ten alone, where there are enough of them: Plotly's own choice overlaps."""
    decades = log10(max(max(values) for _, values in known) / min(min(values) for _, values in known))
    return {"dtick": 1} if decades > _DECADES else {}


def _known(values: Sequence[float | None]) -> list[float]:
    """Latencies that a logarithmic scale can show."""
    return [one for one in values if one is not None and one > 0]
