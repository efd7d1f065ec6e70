"""pytest-benchmark's JSON: for each metric in seconds its samples, as if each were a round."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from pytest_benchmark.stats import Stats

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.runs.points import Chosen, Point, finite
from pytest_vllmperf.metrics.units import SECONDS
from pytest_vllmperf.records.report import RunReport


def text(chosen: Chosen, report: RunReport) -> str:
    """The file. Its tables know no unit but seconds: other metrics are left out.

    Raises:
        ReportError: where no chosen metric is in seconds, or one is not finite.
    """
    points = [point for point in chosen.points if point.metric.unit == SECONDS.symbol and point.samples]
    if not points:
        raise ReportError("pytest-benchmark knows times alone, and none of the chosen metrics is in seconds")
    finite(points, "pytest-benchmark")
    machine = report.run.machine
    content = {
        "machine_info": {
            "node": "unknown",
            "machine": machine.platform,
            "python_version": machine.python,
            "vllmperf": {"device": machine.device, "driver": machine.driver, "vllm": machine.vllm},
        },
        "commit_info": {
            "id": "unknown",
            "time": None,
            "author_time": None,
            "dirty": False,
            "project": "unknown",
            "branch": "(unknown)",
        },
        "benchmarks": [_benchmark(point) for point in points],
        "datetime": report.run.started,
        "version": version("pytest-benchmark"),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _benchmark(point: Point) -> dict[str, Any]:
    name = point.metric.name
    return {
        "group": name,
        "name": f"{point.subject.partition('::')[2] or point.subject}: {name}",
        "fullname": f"{point.subject}: {name}",
        "params": None,
        "param": None,
        "extra_info": {"engine": point.of.engine, "profile": point.of.profile, "metric": name, "value": point.value},
        "options": {"disable_gc": False, "timer": "", "min_rounds": 1, "max_time": 0, "min_time": 0, "warmup": False},
        "stats": _stats(point.samples),
    }


def _stats(samples: list[float]) -> dict[str, Any]:
    """By pytest-benchmark's own definitions."""
    stats = Stats()
    for sample in samples:
        stats.update(sample)
    return {**stats.as_dict(), "data": samples, "iterations": 1}
