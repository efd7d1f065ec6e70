"""Each form is read by the tool that it is made for, or by what that tool is specified by; names are hostile."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pytest_vllmperf.errors import ReportError, SpecError
from pytest_vllmperf.interchange.runs import bencher, github_action, openmetrics, parquet, pytest_benchmark
from pytest_vllmperf.interchange.runs.points import choose
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.frames import rows_of
from pytest_vllmperf.records.verdict import Status
from tests.reporting import HOSTILE, check, hostile_run, measurement, metric, one_test, run_of

# https://bencher.dev/docs/reference/bencher-metric-format
BMF = {
    "type": "object",
    "patternProperties": {
        ".+": {
            "type": "object",
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "properties": {name: {"type": "number"} for name in ("value", "lower_value", "upper_value")},
                    "required": ["value"],
                    "additionalProperties": False,
                }
            },
        }
    },
    "additionalProperties": False,
}


def strict(text: str) -> Any:
    """JSON without the numbers that it does not have, and without a key that stands twice in an object."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found)
        return dict(found)

    return json.loads(text, parse_constant=pytest.fail, object_pairs_hook=pairs)


def test_pytest_benchmark_compares_two_of_them(tmp_path: Path) -> None:
    report = hostile_run()
    files = [tmp_path / "0001_a.json", tmp_path / "0002_b.json"]
    for file in files:
        file.write_text(pytest_benchmark.text(choose(report), report), encoding="utf-8")
    table = tmp_path / "table"
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files), f"--csv={table}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.replace(f"Generated csv: {table}.csv\n", "").strip()) == (0, "")
    assert f"benchmark 'ttft.p50': {4 * len(HOSTILE)} tests" in done.stdout
    assert "output_throughput" not in done.stdout
    assert "\x1b" not in (tmp_path / "table.csv").read_text()


def test_pytest_benchmark_gets_every_sample_as_a_round() -> None:
    report = run_of(one_test("t.py::a", check(metric("ttft.p50", (1.0, 2.0), (6.0,)), name="own")))
    content = strict(pytest_benchmark.text(choose(report), report))
    (one,) = content["benchmarks"]
    assert (one["group"], one["name"], one["fullname"]) == ("ttft.p50", "a # own: ttft.p50", "t.py::a # own: ttft.p50")
    stats = one["stats"]
    assert stats["data"] == [1.0, 2.0, 6.0]
    assert (stats["min"], stats["max"], stats["mean"], stats["median"], stats["rounds"]) == (1.0, 6.0, 3.0, 2.0, 3)
    assert content["datetime"] == report.run.started


def test_pytest_benchmark_knows_times_alone() -> None:
    report = run_of(one_test("t.py::a", check(metric("output_throughput", (1.0,)))))
    with pytest.raises(ReportError, match="pytest-benchmark knows times alone"):
        pytest_benchmark.text(choose(report), report)


def test_bencher_has_a_benchmark_for_each_check_and_its_bounds() -> None:
    content = strict(bencher.text(choose(hostile_run())))
    jsonschema.Draft7Validator(BMF).validate(content)
    assert len(content) == 2 * len(HOSTILE)
    assert all(set(measures) == {"ttft.p50", "output_throughput"} for measures in content.values())
    first = content[f"test_a.py::test[{HOSTILE[0]}] # {HOSTILE[0]} 1"]
    assert first["ttft.p50"] == {"value": 1.125, "lower_value": 1.1875, "upper_value": 1.5}
    assert first["output_throughput"] == {"value": 100.0, "lower_value": 100.0, "upper_value": 101.0}


def test_bencher_takes_names_of_1024_bytes() -> None:
    long = "é" * 600
    report = run_of(*(one_test(f"t.py::{long}{end}", check(metric("ttft.p50", (1.0,)))) for end in "ab"))
    content = strict(bencher.text(choose(report)))
    assert len(content) == 2
    assert all(900 < len(name.encode()) <= 1024 for name in content)


def test_github_action_benchmark_has_both_directions() -> None:
    chosen = choose(hostile_run())
    lower, higher = strict(github_action.smaller(chosen)), strict(github_action.bigger(chosen))
    for entries, name, unit in ((lower, "ttft.p50", "s"), (higher, "output_throughput", "tok/s")):
        assert len({one["name"] for one in entries}) == len(entries) == 2 * len(HOSTILE)
        assert all(one["name"].endswith(f": {name}") and one["unit"] == unit for one in entries)
        assert all(isinstance(one["value"], float) and isinstance(one["range"], str) for one in entries)
        # The tool writes a name between backticks into a cell of a table.
        assert not any("`" in one["name"] or "|" in one["name"].replace("\\|", "") for one in entries)
    assert (higher[0]["value"], higher[0]["range"]) == (100.0, "± 0.5")


def test_github_action_benchmark_without_a_metric_of_a_direction() -> None:
    chosen = choose(run_of(one_test("t.py::a", check(metric("ttft.p50", (1.0,))))))
    assert len(strict(github_action.smaller(chosen))) == 1
    with pytest.raises(
        ReportError, match="customBiggerIsBetter: of none of the chosen metrics is a higher value better"
    ):
        github_action.bigger(chosen)


def test_openmetrics_is_parsed() -> None:
    report = hostile_run()
    text = openmetrics.text(choose(report), report)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ttft = families["vllmperf_ttft_p50_seconds"]
    assert (ttft.type, ttft.unit) == ("gauge", "seconds")
    assert families["vllmperf_output_throughput_tokens_per_second"].unit == "tokens_per_second"
    assert [sample.value for sample in ttft.samples] == [n + 0.125 for n in range(1, 10) for _ in (1, 2)]
    labels = [sample.labels for sample in ttft.samples]
    assert labels[0]["check"] == f"{HOSTILE[0]} 1"
    assert labels[6]["check"] == "line\nbreak\\r\\tand tab 1"  # a line break is kept by the format's own escape
    assert labels[8]["engine"] == "\\x1b[31mred\\x1b[0m"
    assert all("\x1b" not in value and "\r" not in value for one in labels for value in one.values())
    assert len({tuple(sorted(one.items())) for one in labels}) == len(labels)


def test_openmetrics_has_every_test_and_check() -> None:
    broken = one_test("t.py::b", outcome="error")
    void = check(metric("ttft.p50", (1.0,)), status=Status.INVALID)
    first = one_test("t.py::a", check(metric("ttft.p50", (float("nan"),))), measurements=(measurement(),))
    report = run_of(first, broken, one_test("t.py::c", void))
    families = {one.name: one for one in text_string_to_metric_families(openmetrics.text(choose(report), report))}
    outcomes = [(one.labels["test"], one.labels["outcome"]) for one in families["vllmperf_test"].samples]
    assert outcomes == [("t.py::a", "passed"), ("t.py::b", "error"), ("t.py::c", "passed")]
    verdicts = [(one.labels["test"], one.labels["status"]) for one in families["vllmperf_check"].samples]
    assert verdicts == [("t.py::a", "OK"), ("t.py::c", "INVALID")]
    (value,) = [one.value for one in families["vllmperf_ttft_p50_seconds"].samples]
    assert math.isnan(value)


def test_openmetrics_has_a_name_for_every_metric() -> None:
    assert {metric.unit.symbol for metric in METRICS.values()} <= set(openmetrics.UNITS)
    report = run_of(one_test("t.py::a", check(*(metric(name, (1.0,)) for name in METRICS))))
    families = list(text_string_to_metric_families(openmetrics.text(choose(report, ["all"]), report)))
    assert len(families) == len(METRICS) + 2
    assert len({family.name for family in families}) == len(families)


def test_parquet_has_the_rows_of_the_frame_with_names_as_they_are() -> None:
    report = hostile_run()
    table = pyarrow.parquet.read_table(BytesIO(parquet.content(choose(report, ["all"]), report)))
    assert table.to_pylist() == list(rows_of(report, "samples"))
    assert set(table.column("spec").to_pylist()) == set(HOSTILE)
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_parquet(BytesIO(parquet.content(choose(report, ["ttft.p50"]), report)))) == 2 * 9 * 3


def test_parquet_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    report = hostile_run()
    with pytest.raises(
        SpecError, match=r'Parquet needs pyarrow, which is not installed: pip install "pytest-vllmperf\['
    ):
        parquet.content(choose(report), report)


@pytest.mark.parametrize("make", [bencher.text, github_action.smaller], ids=["bencher", "github"])
def test_a_number_that_json_does_not_have_is_refused(make: Any) -> None:
    report = run_of(one_test("t.py::a", check(metric("ttft.p50", (float("nan"),)))))
    with pytest.raises(ReportError, match="not a finite number"):
        make(choose(report))
