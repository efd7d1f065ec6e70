"""Bencher Metric Format: for each benchmark its measures, each with a value and its bounds."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pytest_vllmperf.interchange.runs.points import Chosen, finite

_LONGEST: Final = 1024
"""Bytes of the name of a benchmark."""
_DIGITS: Final = 16


def text(chosen: Chosen) -> str:
    """The file. Benchmarks are checks, measures are metrics; the bounds are the lowest and highest engine start.

    Raises:
        ReportError: for a figure that is not finite.
    """
    finite(chosen.points, "Bencher Metric Format")
    found: dict[str, dict[str, Any]] = {}
    for point in chosen.points:
        engines = point.engines
        bounds = {"lower_value": min(engines), "upper_value": max(engines)} if engines else {}
        found.setdefault(_name(point.subject), {})[point.metric.name] = {"value": point.value, **bounds}
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)


def _name(subject: str) -> str:
    """A name that Bencher takes: cut where it is too long, so that no two are alike."""
    if len(subject.encode()) <= _LONGEST:
        return subject
    mark = hashlib.sha256(subject.encode()).hexdigest()[:_DIGITS]
    return f"{subject.encode()[: _LONGEST - len(mark) - 1].decode(errors='ignore')} {mark}"
