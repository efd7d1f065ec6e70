"""github-action-benchmark: entries for its tools customSmallerIsBetter and customBiggerIsBetter."""

from __future__ import annotations

import json
from typing import Any

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.runs.points import Chosen, Point, finite

_TOOLS = {"lower": "customSmallerIsBetter", "higher": "customBiggerIsBetter"}
SMALLER, BIGGER = _TOOLS.values()


def smaller(chosen: Chosen) -> str:
    """The metrics of which less is better.

    Raises:
        ReportError: where there is none, or one is not finite.
    """
    return _text(chosen, "lower")


def bigger(chosen: Chosen) -> str:
    """The metrics of which more is better.

    Raises:
        ReportError: where there is none, or one is not finite.
    """
    return _text(chosen, "higher")


def _text(chosen: Chosen, better: str) -> str:
    points = [point for point in chosen.points if point.metric.better == better]
    if not points:
        raise ReportError(f"{_TOOLS[better]}: of none of the chosen metrics is a {better} value better")
    finite(points, "github-action-benchmark")
    return json.dumps([_entry(point) for point in points], indent=2, ensure_ascii=False, allow_nan=False)


def _entry(point: Point) -> dict[str, Any]:
    engines = point.engines
    spread = (max(engines) - min(engines)) / 2 if engines else 0.0
    return {
        "name": _in_code(f"{point.subject}: {point.metric.name}"),
        "unit": point.metric.unit,
        "value": point.value,
        "range": f"± {spread:g}",
        "extra": f"{point.of.engine}\n{point.of.profile}\nengine starts: {len(engines)}",
    }


def _in_code(name: str) -> str:
    """A name that stays in one cell of a Markdown table, where the tool writes it between backticks."""
    return name.replace("`", "'").replace("|", "\\|")
