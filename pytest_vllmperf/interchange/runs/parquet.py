"""Parquet: one row for each test, check, metric, engine start and iteration, with the columns of `frame()`."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.interchange.runs.points import Chosen
from pytest_vllmperf.records.frames import COLUMNS, rows_of
from pytest_vllmperf.records.report import RunReport

INSTALL: Final = 'pip install "pytest-vllmperf[parquet]"'


def content(chosen: Chosen, report: RunReport) -> bytes:
    """The file. Names are as they are; numbers that are not finite stay what they are.

    Args:
        chosen: what is in it.
        report: the run.

    Raises:
        SpecError: where pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise SpecError(f"Parquet needs pyarrow, which is not installed: {INSTALL}") from None
    wanted = {(point.test, point.check, point.measurement, point.metric.name) for point in chosen.points}
    keys = ("test", "check", "measurement", "metric")
    rows = [
        row
        for row in rows_of(report, "samples")
        if tuple("" if key == "check" and row[key] is None else row[key] for key in keys) in wanted
    ]
    kinds: dict[type, Any] = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS["samples"].items()])
    stream = BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), stream)
    return stream.getvalue()
