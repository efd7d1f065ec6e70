"""OpenMetrics text: a gauge for each metric, and what became of every test and check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from pytest_vllmperf.interchange.runs.points import Chosen, Point, shown
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.custom import plain_name
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
_CUSTOM: Final = "custom_"
_SIGNS: Final = {"%": "percent", "/": "_per_", "°": "degrees", "µ": "u", "μ": "u"}


def text(chosen: Chosen, report: RunReport) -> str:
    """The exposition, for a text file collector or a push gateway. It holds no time stamps."""
    lines = [*_outcomes(report)]
    families: dict[str, list[Point]] = {}
    for name in METRICS.ordered({point.metric.name for point in chosen.points}):
        families.setdefault(_family_name(METRICS[name]), []).extend(
            point for point in chosen.points if point.metric.name == name
        )
    for family, points in families.items():
        lines += _family(family, points)
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family_name(metric: Metric) -> str:
    """A name that ends with its unit; custom metrics have a name space of their own."""
    plain = plain_name(metric.name).replace(".", "_")
    own, unit = f"{_CUSTOM}{plain}" if metric.custom else plain, _unit_name(metric.unit.symbol)
    return _PREFIX + (own if not unit or own.endswith(f"_{unit}") else f"{own}_{unit}")


def _family(family: str, points: list[Point]) -> Iterator[str]:
    """The points of one name. Custom metrics that tests declare differently may share it; a label tells them apart."""
    metric = METRICS[points[0].metric.name]
    unit = _unit_name(metric.unit.symbol)
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
            "metric": point.metric.name if METRICS[point.metric.name].custom else "",
        }
        yield f"{family}{_labels(labels)} {_number(point.value)}"


def _unit_name(symbol: str) -> str:
    """A unit as the end of a name, which has letters, digits and underscores only; empty for a plain number."""
    if symbol in UNITS:
        return UNITS[symbol]
    words = "".join(sign if sign.isascii() and sign.isalnum() else _SIGNS.get(sign, "_") for sign in symbol)
    return words.strip("_") or "units"


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
