"""Tests that the `sweep` marker made, as curves over the engine argument that they vary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pytest_vllmperf.metrics.table import METRICS, AllMetrics
from pytest_vllmperf.records.check_report import MetricReport
from pytest_vllmperf.records.report import TestReport
from pytest_vllmperf.report import points
from pytest_vllmperf.report.escaping import plot_label
from pytest_vllmperf.report.pages.plots.scales import Scale, metric_scale
from pytest_vllmperf.report.pages.shell import Figure

_METRICS: Final = (AllMetrics.output_throughput.name, "ttft.p50", "tpot.p50")
_COLOURS: Final = ("p1", "p2", "p3", "p4", "p5", "p6")
_NAME: Final = 40


def groups(tests: Sequence[TestReport]) -> dict[str, list[TestReport]]:
    """The tests of each curve by what their node ids have in common; those of one point are no curve."""
    found: dict[str, list[TestReport]] = {}
    for test in tests:
        if test.point:
            found.setdefault(test.nodeid.partition("[")[0], []).append(test)
    return {name: group for name, group in found.items() if len(group) > 1}


def curves(group: Sequence[TestReport]) -> Iterator[Figure]:
    """Throughput and latencies over the argument with the most values, a line for each combination of the others.

    Args:
        group: tests of one curve; one that measured nothing has no point.
    """
    axis = _axis(group)
    for name in _METRICS:
        measured = [(test, metric) for test in group if (metric := _metric(test, name)) is not None]
        if len(measured) > 1 and name in METRICS:
            yield _figure(name, axis, measured)


def _axis(group: Sequence[TestReport]) -> str:
    """The argument with the most values; among equals a number."""
    names = list(dict.fromkeys(name for test in group for name in test.point))

    def weight(name: str) -> tuple[int, bool]:
        values = [test.point[name] for test in group if name in test.point]
        return len({points.shown(one) for one in values}), all(map(_is_number, values))

    return max(names, key=weight)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _metric(test: TestReport, name: str) -> MetricReport | None:
    """A metric of the first check of a test, or of its first measurement."""
    first = next(iter((*test.checks, *test.measurements)), None)
    found = None if first is None else first.metrics.get(name)
    return found if found is not None and found.value is not None else None


def _figure(name: str, axis: str, measured: Sequence[tuple[TestReport, MetricReport]]) -> Figure:
    lines: dict[str, list[tuple[Any, MetricReport]]] = {}
    for test, metric in measured:
        others = points.settings({key: value for key, value in test.point.items() if key != axis})
        lines.setdefault(others, []).append((test.point.get(axis), metric))
    numeric = all(_is_number(at) for line in lines.values() for at, _ in line)
    before = {at: one.judged.baseline for line in lines.values() for at, one in line if one.judged is not None}
    drawn = metric_scale(name, [*(one.value for _, one in measured), *before.values()])
    traces = [one for at, line in enumerate(lines.items()) for one in _traces(at, *line, drawn, numeric=numeric)]
    several = len(lines) > 1
    return Figure(
        kind="points",
        title=METRICS[name].label,
        remark="dotted: the baseline" if any(one is not None for one in before.values()) else "",
        traces=tuple(traces),
        layout={
            "showlegend": several,
            "margin": {"t": 26 if several else 8},
            "xaxis": {
                "title": {"text": plot_label(axis)},
                **({"tickformat": ",~g"} if numeric else {"type": "category"}),
            },
            "yaxis": {"title": {"text": drawn.unit}, "tickformat": ",~g", "rangemode": "tozero"},
        },
        height=240,
    )


def _traces(
    number: int, others: str, line: Sequence[tuple[Any, MetricReport]], drawn: Scale, *, numeric: bool
) -> Iterator[dict[str, Any]]:
    """One line of a curve, below it that of the baseline.

    Args:
        number: of the line, from 0.
        others: the arguments besides that of the axis, in words.
        line: places on the axis, and what was measured there.
        drawn: the scale of the values.
        numeric: whether places are numbers.
    """
    ordered = sorted(line, key=lambda one: one[0]) if numeric else line
    x = [at if numeric else plot_label(points.shown(at)) for at, _ in ordered]
    label = plot_label(_short(others) or "now")
    colour = f"@{_COLOURS[number % len(_COLOURS)]}"
    baseline = [one.judged.baseline if one.judged is not None else None for _, one in ordered]
    if any(one is not None for one in baseline):
        yield {
            "type": "scatter", "mode": "lines", "x": x, "y": drawn.all(baseline), "showlegend": False,
            "line": {"color": colour, "width": 1, "dash": "dot"}, "hoverinfo": "skip",
        }  # fmt: skip
    yield {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": drawn.all(one.value for _, one in ordered),
        "name": label, "line": {"color": colour, "width": 2}, "marker": {"size": 6},
        "hovertemplate": f"%{{y:,.4~g}} {drawn.unit} at %{{x}}<extra>{label}</extra>",
    }  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
