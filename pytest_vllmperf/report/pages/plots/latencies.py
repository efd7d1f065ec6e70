"""Latencies: their distributions over requests, and how they went on over the iterations of each engine start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

from pytest_vllmperf.metrics.units import SECONDS
from pytest_vllmperf.records.check_report import CheckReport, MeasurementReport, MetricReport
from pytest_vllmperf.report.pages.plots.scales import COARSE, distribution, metric_scale, scale
from pytest_vllmperf.report.pages.shell import Figure

_OVER_TIME: Final = ("output_throughput", "ttft.p50", "tpot.p50")
_COLOURS: Final = ("p1", "p2", "p3", "p4", "p5", "p6")
"""Of engine starts."""
_FEWEST: Final = 3
"""Requests below which a distribution is nothing but its numbers."""


def ttft_distribution(measured: MeasurementReport) -> Figure | None:
    """TTFT by request, each the median over its iterations: the baseline's, and that of all new engine starts."""
    now = _by_request([one.ttft_by_request for one in measured.engines])
    stored: Sequence[float] = ()
    if isinstance(measured, CheckReport) and measured.reference is not None:
        stored = _by_request([one.ttft_by_request for one in measured.reference.engines])
    elif isinstance(measured, CheckReport) and measured.baseline is not None:
        stored = measured.baseline.ttft_by_request
    if len(now) < _FEWEST:
        return None
    drawn = scale(SECONDS, [*stored, *now], COARSE)
    traces = [
        _steps(drawn.all(distribution(values)[0]), distribution(values)[1], name, colour, drawn.unit)
        for values, name, colour in ((stored, "before", "base"), (now, "now", "accent"))
        if values
    ]
    return Figure(
        kind="cdf",
        title="TTFT of the requests",
        remark=f"share of {len(now):,} requests, median of each",
        traces=tuple(traces),
        layout={
            "showlegend": bool(stored),
            "margin": {"t": 26},
            "xaxis": {
                "title": {"text": drawn.unit},
                "tickformat": ",~g",
                "nticks": 5,
                "range": _around(drawn.all([*stored, *now])),
            },
            "yaxis": {"range": [0, 1.02], "tickformat": ".0%", "nticks": 5},
        },
    )


def _around(numbers: Sequence[float | None]) -> list[float]:
    """A range with some room on both sides, also where all numbers are nearly the same."""
    known = [one for one in numbers if one is not None]
    room = max(0.05 * (max(known) - min(known)), 0.01 * max(known))
    return [min(known) - room, max(known) + room]


def _by_request(engines: Sequence[Sequence[float]]) -> list[float]:
    """For each request the median over engine starts; those that saw other requests are left out."""
    known = [one for one in engines if one]
    return [median(found) for found in zip(*(one for one in known if len(one) == len(known[0])), strict=True)]


def _steps(x: Sequence[float | None], y: Sequence[float], name: str, colour: str, unit: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": {"color": f"@{colour}", "width": 2,
        "shape": "hv"}, "hovertemplate": f"%{{y:.0%}} within %{{x:,.4~g}} {unit}<extra>{name}</extra>",
    }  # fmt: skip


def over_time(measured: MeasurementReport) -> list[Figure]:
    """Throughput, TTFT and TPOT by iteration, warm-up included, a line for each engine start."""
    found = (measured.metrics.get(name) for name in _OVER_TIME)
    return [figure for metric in found if metric is not None and (figure := _over_iterations(measured, metric))]


def _over_iterations(measured: MeasurementReport, metric: MetricReport) -> Figure | None:
    lines = list(_lines(measured, metric))
    if not any(len(values) > 1 for _, _, values in lines):
        return None
    baseline = None if metric.judged is None else metric.judged.baseline
    drawn = metric_scale(metric.name, [*(one for _, _, values in lines for one in values), baseline])
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "x": [first + at for at in range(len(values))],
            "y": drawn.all(values), "name": f"engine start {engine}", "marker": {"size": 4},
            "line": {"color": f"@{_COLOURS[(engine - 1) % len(_COLOURS)]}", "width": 1.5},
            "hovertemplate": f"iteration %{{x}}: %{{y:,.4~g}} {drawn.unit}<extra>engine start {engine}</extra>",
        }
        for engine, first, values in lines
    ]  # fmt: skip
    shapes: list[dict[str, Any]] = []
    if any(first < 1 for _, first, _ in lines):
        shapes.append({"type": "line", "x0": 0.5, "x1": 0.5, "yref": "paper", "y0": 0, "y1": 1,
                       "line": {"color": "@line", "width": 1, "dash": "dot"}})  # fmt: skip
    if baseline is not None:
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": drawn.of(baseline),
                       "y1": drawn.of(baseline), "line": {"color": "@base", "width": 1, "dash": "dash"}})  # fmt: skip
    return Figure(
        kind="over-time",
        title=f"{metric.label} by iteration",
        remark="0 and below: warm-up" if any(first < 1 for _, first, _ in lines) else "",
        traces=tuple(traces),
        layout={
            "shapes": shapes,
            "xaxis": {"title": {"text": "iteration"}, "tickformat": "d", "nticks": 8, "showgrid": False},
            "yaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "nticks": 5},
        },
    )


def _lines(measured: MeasurementReport, metric: MetricReport) -> Iterator[tuple[int, int, list[float]]]:
    """Number of the engine start, of its first iteration (the counted ones begin at 1), and the values."""
    for number, (engine, samples) in enumerate(zip(measured.engines, metric.samples, strict=False), 1):
        before = list(engine.warmup.get(metric.name, ()))
        if samples:
            yield number, 1 - len(before), [*before, *samples]
