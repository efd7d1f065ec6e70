"""OpenMetrics text: a gauge for each metric, and what became of every test and check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from pytest_vllmperf.interchange.runs.points import Chosen, Point, shown
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.report import RunReport

UNITS: Final[Mapping[str, str]] = {
    "": "",
    "s": "seconds",
    "B": "bytes",
    "share": "ratio",
    "tokens": "tokens",
    "tok/s": "tokens_per_second",
    "req/s": "requests_per_second",
    "Hz": "hertz",
    "W": "watts",
    "J": "joules",
    "J/tok": "joules_per_token",
    "tok/J": "tokens_per_joule",
    "°C": "celsius",
}
"""Symbol of a unit -> its name, with which the names of metrics end."""

_PREFIX: Final = "vllmperf_"


def text(chosen: Chosen, report: RunReport) -> str:
    """The exposition, for a text file collector or a push gateway. It holds no time stamps."""
    lines = [*_outcomes(report)]
    for name in METRICS:
        points = [point for point in chosen.points if point.metric.name == name]
        lines += _family(name, points) if points else []
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family(name: str, points: list[Point]) -> Iterator[str]:
    metric = METRICS[name]
    unit = UNITS[metric.unit.symbol]
    plain = name.replace(".", "_")
    family = _PREFIX + (plain if not unit or plain.endswith(f"_{unit}") else f"{plain}_{unit}")
    yield f"# TYPE {family} gauge"
    if unit:
        yield f"# UNIT {family} {unit}"
    yield f"# HELP {family} {_escaped(f'{metric.label}; a {metric.better.value} value is better')}"
    for point in points:
        labels = {
            "test": point.test,
            "check": point.check,
            "measurement": "" if point.measurement is None else str(point.measurement),
            "engine": point.of.engine,
            "profile": point.of.profile,
        }
        yield f"{family}{_labels(labels)} {_number(point.value)}"


def _outcomes(report: RunReport) -> Iterator[str]:
    """Every test and every check, also those without a figure: what failed is not to be missing."""
    yield f"# TYPE {_PREFIX}test info"
    yield f"# HELP {_PREFIX}test What became of a performance test."
    for test in report.tests:
        yield f"{_PREFIX}test_info{_labels({'test': test.nodeid, 'outcome': test.outcome})} 1"
    yield f"# TYPE {_PREFIX}check info"
    yield f"# HELP {_PREFIX}check The verdict on a check."
    for test, check in report.checks:
        labels = {"test": test.nodeid, "check": check.name, "status": check.status.value}
        yield f"{_PREFIX}check_info{_labels(labels)} 1"


def _labels(labels: Mapping[str, str]) -> str:
    """Labels in braces; an empty one is the same as none."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items() if value) + "}"


def _escaped(value: str) -> str:
    """A text for a label or a help text. Other control characters than line breaks are shown as escapes."""
    visible = "\n".join(map(shown, value.split("\n")))
    return visible.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"
