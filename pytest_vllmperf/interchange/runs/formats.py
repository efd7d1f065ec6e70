"""The table of forms that a run is written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.interchange.runs import bencher, github_action, openmetrics, parquet, pytest_benchmark
from pytest_vllmperf.interchange.runs.points import Chosen
from pytest_vllmperf.records.report import RunReport


@dataclass(frozen=True)
class RunFormat:
    """One form.

    Attributes:
        name: what `--to` calls it.
        make: makes it of what was chosen, and of the run.
        is_json: whether it is JSON.
    """

    name: str
    make: Callable[[Chosen, RunReport], str | bytes]
    is_json: bool = True


RUN_FORMATS: Final[dict[str, RunFormat]] = {
    one.name: one
    for one in (
        RunFormat("pytest-benchmark", pytest_benchmark.text),
        RunFormat("bmf", lambda chosen, _report: bencher.text(chosen)),
        RunFormat(github_action.SMALLER, lambda chosen, _report: github_action.smaller(chosen)),
        RunFormat(github_action.BIGGER, lambda chosen, _report: github_action.bigger(chosen)),
        RunFormat("openmetrics", openmetrics.text, is_json=False),
        RunFormat("parquet", parquet.content, is_json=False),
    )
}
"""By the names that `--to` has for them."""
