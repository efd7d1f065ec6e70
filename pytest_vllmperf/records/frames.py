"""A run as a table: rows, and a DataFrame of pandas or polars. Neither is imported before one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pytest_vllmperf.errors import SpecError

if TYPE_CHECKING:
    from pytest_vllmperf.records.check_report import MeasurementReport, MetricReport
    from pytest_vllmperf.records.report import RunReport, TestReport

Rows = Literal["samples", "metrics", "tests", "requests"]
Library = Literal["pandas", "polars"]
Cell = str | int | float | bool | None
Kind = type[str] | type[int] | type[float] | type[bool]

INSTALL: Final = 'pip install "pytest-vllmperf[frame]"'

_OF_MEASURED: Final[Mapping[str, Kind]] = {
    "test": str,
    "outcome": str,
    "check": str,
    "measurement": int,
    "status": str,
    "spec": str,
    "profile": str,
}
_OF_METRIC: Final[Mapping[str, Kind]] = {
    **_OF_MEASURED,
    "metric": str,
    "unit": str,
    "better": str,
    "gated": bool,
}
REQUEST_COLUMNS: Final[Mapping[str, Kind]] = {
    "engine": int,
    "iteration": int,
    "request": int,
    "started": float,
    "ttft": float,
    "tpot": float,
    "e2e": float,
    "prompt_tokens": int,
    "output_tokens": int,
    "error": str,
}
"""Of `Requests`: its columns and their types."""
COLUMNS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "samples": {**_OF_METRIC, "engine": int, "cold_start": bool, "iteration": int, "value": float},
    "metrics": {
        **_OF_METRIC,
        "metric_status": str,
        "engines": int,
        "value": float,
        "baseline": float,
        "change": float,
        "low": float,
        "high": float,
        "confidence": float,
        "margin": float,
        "reason": str,
    },
    "tests": {
        "test": str,
        "outcome": str,
        "seconds": float,
        "checks": int,
        "measurements": int,
        "status": str,
        "message": str,
    },
    "requests": {**_OF_MEASURED, **REQUEST_COLUMNS},
}
"""For each kind of rows the columns and their types. Every cell but those of `test` and `outcome` may be empty."""


def frame(report: RunReport, rows: str, library: str | None) -> Any:
    """A run as a DataFrame; see `RunReport.frame`."""
    if rows not in COLUMNS:
        raise SpecError(f"rows={rows!r} is not one of {', '.join(COLUMNS)}")
    return table(rows_of(report, rows), COLUMNS[rows], library)


def table(rows: Iterable[Mapping[str, Cell]], columns: Mapping[str, Kind], library: str | None) -> Any:
    """Rows as a DataFrame.

    Args:
        rows: each with all columns.
        columns: and their types.
        library: `pandas` or `polars`; without it pandas where it is installed, else polars.

    Raises:
        SpecError: for another library, and where the library is not installed.
    """
    if library not in (None, *get_args(Library)):
        raise SpecError(f"library={library!r} is not one of {', '.join(get_args(Library))}")
    name, module = _library(library)
    found: dict[str, list[Cell]] = {column: [] for column in columns}
    for row in rows:
        for column in columns:
            found[column].append(row[column])
    return _pandas(module, found, columns) if name == "pandas" else _polars(module, found, columns)


def rows_of(report: RunReport, rows: str) -> Iterator[dict[str, Cell]]:
    """The rows of one kind, each with all columns of `COLUMNS`."""
    return _ROWS[rows](report)


def _library(wanted: str | None) -> tuple[str, Any]:
    for name in [wanted] if wanted else get_args(Library):
        try:
            return name, import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:  # it is there, and one of its own parts is missing
                raise SpecError(f"{name} cannot be imported: {error}") from None
    if wanted is None:
        raise SpecError(f"frame() needs pandas or polars; install one: {INSTALL}")
    how = INSTALL if wanted == "pandas" else f"pip install {wanted}"
    raise SpecError(f"frame() needs {wanted}, which is not installed: {how}")


def _pandas(pandas: Any, found: Mapping[str, list[Cell]], columns: Mapping[str, Kind]) -> Any:
    kinds = {str: "object", int: "Int64", float: "float64", bool: "boolean"}
    series = {name: pandas.Series(found[name], dtype=kinds[kind]) for name, kind in columns.items()}
    return pandas.DataFrame(series, columns=list(columns))


def _polars(polars: Any, found: Mapping[str, list[Cell]], columns: Mapping[str, Kind]) -> Any:
    kinds = {str: polars.String, int: polars.Int64, float: polars.Float64, bool: polars.Boolean}
    return polars.DataFrame(dict(found), schema={name: kinds[kind] for name, kind in columns.items()})


def _samples(report: RunReport) -> Iterator[dict[str, Cell]]:
    for measured, metric, head in _metrics_of(report):
        for engine, (start, values) in enumerate(zip(measured.engines, metric.samples, strict=True), 1):
            for iteration, value in enumerate(values, 1):
                yield {
                    **head,
                    "engine": engine,
                    "cold_start": start.cold_start,
                    "iteration": iteration,
                    "value": value,
                }


def _metrics(report: RunReport) -> Iterator[dict[str, Cell]]:
    for measured, metric, head in _metrics_of(report):
        judged = metric.judged
        told = ("baseline", "change", "low", "high", "confidence", "margin", "reason")
        yield {
            **head,
            "metric_status": None if judged is None else judged.status.value,
            "engines": len(measured.engines),
            "value": metric.value,
            **{name: None if judged is None else getattr(judged, name) for name in told},
        }


def _tests(report: RunReport) -> Iterator[dict[str, Cell]]:
    for test in report.tests:
        statuses = list(dict.fromkeys(check.status.value for check in test.checks))
        yield {
            "test": test.nodeid,
            "outcome": test.outcome,
            "seconds": test.seconds,
            "checks": len(test.checks),
            "measurements": len(test.measurements),
            "status": ", ".join(statuses) or None,
            "message": test.message or None,
        }


def _requests(report: RunReport) -> Iterator[dict[str, Cell]]:
    for test in report.tests:
        for measured, head in measured_of(test):
            for row in measured.requests.rows():
                yield {**head, **row}


_ROWS: Final[Mapping[str, Callable[[RunReport], Iterator[dict[str, Cell]]]]] = {
    "samples": _samples,
    "metrics": _metrics,
    "tests": _tests,
    "requests": _requests,
}


def _metrics_of(report: RunReport) -> Iterator[tuple[MeasurementReport, MetricReport, dict[str, Cell]]]:
    """Each metric of each check and measurement, with the columns that all its rows share."""
    for test in report.tests:
        for measured, head in measured_of(test):
            for metric in measured.metrics.values():
                yield (
                    measured,
                    metric,
                    {
                        **head,
                        "metric": metric.name,
                        "unit": metric.unit,
                        "better": metric.better,
                        "gated": metric.gated,
                    },
                )


def measured_of(test: TestReport) -> Iterator[tuple[MeasurementReport, dict[str, Cell]]]:
    """The checks and measurements of a test, each with what tells it from all others.

    `measurement` numbers the measurements that were not checked, from 1; it is empty for a check, and `check` is empty
    for these.
    """
    common: dict[str, Cell] = {"test": test.nodeid, "outcome": test.outcome}
    for check in test.checks:
        told: dict[str, Cell] = {"check": check.name, "measurement": None, "status": check.status.value}
        yield check, {**common, **told, "spec": check.engine, "profile": check.profile}
    for number, measured in enumerate(test.measurements, 1):
        told = {"check": None, "measurement": number, "status": None}
        yield measured, {**common, **told, "spec": measured.engine, "profile": measured.profile}
