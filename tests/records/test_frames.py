"""A run as a DataFrame, of either library."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records import frames
from pytest_vllmperf.records.check_report import Judged
from pytest_vllmperf.records.frames import COLUMNS
from pytest_vllmperf.records.requests import RequestColumns
from pytest_vllmperf.records.verdict import Status
from tests.reporting import HOSTILE, check, hostile_run, measurement, metric, one_test, run_of

LIBRARIES = get_args(frames.Library)


def rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of a frame; an empty cell is None."""
    if hasattr(frame, "to_dicts"):
        return list(frame.to_dicts())
    pandas = pytest.importorskip("pandas")
    found = frame.to_dict("records")
    return [{key: None if pandas.isna(value) else value for key, value in row.items()} for row in found]


def report() -> Any:
    """A test with a check and a measurement, and a test that came to nothing."""
    judged = Judged(status=Status.REGRESSED, baseline=0.5, now=1.0, change=1.0, low=0.9, high=1.1, margin=0.05)
    one = check(
        metric("ttft.p50", (1.0, 2.0), (3.0,), (), gated=True, judged=judged),
        metric("load_time", (9.0,), (), (8.0,)),
        name="own",
        status=Status.REGRESSED,
    )
    other = measurement(metric("ttft.p50", (4.0,)))
    first = one_test("t.py::a", one, outcome="failed", message="slow", measurements=(other,))
    return run_of(first, one_test("t.py::b", outcome="error", message="broken"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_for_each_sample(library: frames.Library) -> None:
    frame = report().frame(library=library)
    assert list(frame.columns) == list(COLUMNS["samples"])
    found = rows(frame)
    keys = ("check", "measurement", "metric", "engine", "cold_start", "iteration", "value")
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("own", None, "ttft.p50", 1, True, 1, 1.0),
        ("own", None, "ttft.p50", 1, True, 2, 2.0),
        ("own", None, "ttft.p50", 2, False, 1, 3.0),
        ("own", None, "load_time", 1, True, 1, 9.0),
        ("own", None, "load_time", 3, False, 1, 8.0),
        (None, 1, "ttft.p50", 1, True, 1, 4.0),
    ]
    assert {row["test"] for row in found} == {"t.py::a"}
    assert (found[0]["unit"], found[0]["better"], found[0]["gated"], found[3]["gated"]) == ("s", "lower", True, False)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_for_each_metric(library: frames.Library) -> None:
    found = rows(report().frame("metrics", library=library))
    keys = ("metric", "metric_status", "engines", "value", "baseline", "change", "low", "high", "margin")
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("ttft.p50", "REGRESSED", 3, 1.0, 0.5, 1.0, 0.9, 1.1, 0.05),
        ("load_time", None, 3, 9.0, None, None, None, None, None),
        ("ttft.p50", None, 1, 4.0, None, None, None, None, None),
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_for_each_test_also_for_one_that_measured_nothing(library: frames.Library) -> None:
    found = rows(report().frame("tests", library=library))
    keys = ("test", "outcome", "checks", "measurements", "status", "message")
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("t.py::a", "failed", 1, 1, "REGRESSED", "slow"),
        ("t.py::b", "error", 0, 0, None, "broken"),
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_for_each_request(library: frames.Library) -> None:
    full = report()
    test, other = full.tests
    (one,) = test.checks
    columns = RequestColumns(
        iteration=(1, 2),
        index=(3, 4),
        started=(0.0, None),
        ttft=(0.5, None),
        tpot=(None, None),
        e2e=(0.5, None),
        prompt_tokens=(7, None),
        output_tokens=(1, None),
        errors={1: "cut"},
        left_out=1,
    )
    last = one.engines[2].model_copy(update={"requests": columns})
    one = one.model_copy(update={"engines": (*one.engines[:2], last)})
    full = full.model_copy(update={"tests": (test.model_copy(update={"checks": (one,)}), other)})
    keys = ("check", "engine", "iteration", "request", "started", "ttft", "tpot", "e2e", "output_tokens", "error")
    found = rows(full.frame("requests", library=library))
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("own", 3, 1, 3, 0.0, 0.5, None, 0.5, 1, None),
        ("own", 3, 2, 4, None, None, None, None, None, "cut"),
    ]
    own = rows(one.requests.frame(library=library))
    assert own == [{key: row[key] for key in frames.REQUEST_COLUMNS} for row in found]
    assert one.requests.left_out == 1


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", list(COLUMNS))
def test_an_empty_run_has_the_same_columns_and_types(kind: frames.Rows, library: frames.Library) -> None:
    full, empty = (one.frame(kind, library=library) for one in (report(), run_of()))
    assert list(empty.columns) == list(full.columns) == list(COLUMNS[kind])
    assert list(map(str, empty.dtypes)) == list(map(str, full.dtypes))
    assert len(empty) == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_names_stay_as_they_are(library: frames.Library) -> None:
    found = rows(hostile_run().frame("metrics", library=library))
    assert list(dict.fromkeys(row["spec"] for row in found)) == list(HOSTILE)
    assert {row["check"] for row in found} == {f"{name} {which}" for name in HOSTILE for which in (1, 2)}


def test_pandas_comes_first() -> None:
    assert type(report().frame()).__module__.startswith("pandas")


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(SpecError, match="rows='sample' is not one of samples, metrics, tests, requests"):
        report().frame("sample")
    with pytest.raises(SpecError, match="library='numpy' is not one of pandas, polars"):
        report().frame(library="numpy")


@pytest.mark.parametrize(
    ("missing", "wanted", "told"),
    [
        (["pandas"], None, "polars"),
        (
            ["pandas", "polars"],
            None,
            'frame() needs pandas or polars; install one: pip install "pytest-vllmperf[frame]"',
        ),
        (["pandas"], "pandas", 'frame() needs pandas, which is not installed: pip install "pytest-vllmperf[frame]"'),
        (["polars"], "polars", "frame() needs polars, which is not installed: pip install polars"),
    ],
)
def test_without_a_library(
    missing: list[str], wanted: frames.Library | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    if told == "polars":
        assert type(report().frame(library=wanted)).__module__.startswith("polars")
        return
    with pytest.raises(SpecError) as caught:
        report().frame(library=wanted)
    assert str(caught.value) == told


def test_reading_a_file_imports_neither() -> None:
    code = (
        "import sys; from pytest_vllmperf import load; load.__name__; "
        "print([name for name in ('pandas', 'polars', 'torch', 'vllm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
