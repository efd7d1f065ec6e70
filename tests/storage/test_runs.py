"""The file of a run: what is written comes back, and what is no such file is refused in one line."""

from __future__ import annotations

import json
import math
import os
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.storage import runs
from tests.reporting import HOSTILE, check, hostile_run, metric, one_test, run_of

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "schema" / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.json"
    runs.write(path, hostile_run())
    return path


def test_what_is_written_comes_back(file: Path) -> None:
    assert runs.load(file) == runs.load(str(file)) == hostile_run()


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14), reason="older versions of pydantic write other schemas"
)
def test_the_schema_is_that_of_the_code() -> None:
    made = runpy.run_path(str(DOCS / "generate.py"))
    text = (DOCS / "schema" / "run.json").read_text(encoding="utf-8")
    assert made["WHOLE"]["docs/schema/run.json"]() == text, "run: python docs/generate.py"


def test_a_file_fits_the_schema_and_a_file_with_anything_else_does_not(file: Path) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    content = json.loads(file.read_text(encoding="utf-8"))
    validator.validate(content)
    content["tests"][0]["checks"][0]["metrics"]["ttft.p50"]["value"] = "fast"
    assert not validator.is_valid(content)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["tests"][0]["more"] = 1
    assert not validator.is_valid(content)
    del content["tests"]
    assert not validator.is_valid(content)


def test_numbers_that_json_does_not_have_are_kept(tmp_path: Path) -> None:
    values = (math.nan, math.inf, -math.inf, 0.1)
    report = run_of(one_test("a::b", check(metric("ttft.p50", values))))
    path = tmp_path / "run.json"
    runs.write(path, report)
    text = path.read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=pytest.fail)["tests"][0]["checks"][0]["metrics"]["ttft.p50"]
    assert found["value"] == "NaN"
    assert found["samples"] == [["NaN", "Infinity", "-Infinity", 0.1]]
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    (again,) = runs.load(path).tests[0].checks[0].metrics["ttft.p50"].samples
    assert math.isnan(again[0])
    assert again[1:] == values[1:]


def test_half_of_a_surrogate_pair_is_written_as_its_escape(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    runs.write(path, run_of(one_test("a::b[\udcff]")))
    assert runs.load(path).tests[0].nodeid == "a::b[\\udcff]"


def test_secrets_are_taken_out_wherever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    one = check(metric("ttft.p50", (1.0,)), name="hush name", engine="hush engine")
    report = run_of(one_test("hush::b", one, message="is hush"))
    runs.write(path, runs.without_secrets(report, lambda text: text.replace("hush", "***")))
    assert "hush" not in path.read_text(encoding="utf-8")
    assert runs.load(path).tests[0].message == "is ***"


@pytest.mark.parametrize("cut", [1, 2, 10, 100, 1000])
def test_a_file_that_was_cut_short_is_refused(file: Path, cut: int) -> None:
    content = file.read_bytes().rstrip()
    file.write_bytes(content[:-cut])
    with pytest.raises(ReportError, match=r"run\.json: not JSON, or truncated \(.*\); write it anew with"):
        runs.load(file)


def _changed(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"schema": "other"},
            r"not a run of pytest-vllmperf \(its schema is 'other'\); name a file that --vllmperf-json",
        ),
        ({"version": 2}, r"written by a newer pytest-vllmperf \(schema version 2, this one reads 1\); upgrade"),
        ({"version": 2, "more": 1}, r"written by a newer pytest-vllmperf"),
        ({"version": 0}, r"schema version 0 is not 1; write it anew"),
        ({"more": 1}, r"more: Extra inputs are not permitted; write it anew"),
        ({"tests": None}, r"tests: Input should be a valid (tuple|array); write it anew"),
    ],
)
def test_what_is_no_run_is_refused(file: Path, fields: dict[str, Any], message: str) -> None:
    _changed(file, **fields)
    with pytest.raises(ReportError, match=message) as caught:
        runs.load(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["schema", "version"])
def test_a_file_that_does_not_say_what_it_is_is_refused(file: Path, field: str) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    del content[field]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ReportError, match=r"not a run of pytest-vllmperf|schema version None"):
        runs.load(file)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no\.json: there is no such file"):
        runs.load(tmp_path / "no.json")
    with pytest.raises(ReportError, match="cannot be read"):
        runs.load(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ReportError, match="not JSON"):
        runs.load(tmp_path / "text")
    (tmp_path / "binary").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ReportError, match="cannot be read: 'utf-8'"):
        runs.load(tmp_path / "binary")


def test_only_the_file_of_a_run_is_replaced_or_removed(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"schema": "pytest-vllmperf/baseline"}')
    with pytest.raises(ReportError, match=r"other\.json: not replaced"):
        runs.write(other, hostile_run())
    runs.forget(other)
    assert other.read_text() == '{"schema": "pytest-vllmperf/baseline"}'
    empty = tmp_path / "empty.json"
    empty.touch()
    runs.write(empty, hostile_run())
    assert runs.load(empty) == hostile_run()
    runs.forget(file)
    assert not file.exists()
    runs.forget(file)


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    runs.forget(link)
    assert (link.is_symlink(), file.exists()) == (True, False)
    runs.write(link, hostile_run())
    assert (link.is_symlink(), runs.load(file)) == (True, hostile_run())


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="regular"):
        runs.write(pipe, hostile_run())
    with pytest.raises(OSError, match="regular"):
        runs.forget(pipe)


def test_each_test_has_a_line_of_its_own(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 1 + len(HOSTILE) + 2
    assert [json.loads(line.rstrip(","))["nodeid"] for line in lines[1:-2]] == [
        f"test_a.py::test[{name}]" for name in HOSTILE
    ]


def test_lookups() -> None:
    report = hostile_run()
    assert report.test(report.tests[3].nodeid) is report.tests[3]
    with pytest.raises(KeyError):
        report.test("test_a.py::nothing")
    assert [(test.nodeid, one.status) for test, one in report.checks][:2] == [
        (report.tests[0].nodeid, Status.OK),
        (report.tests[0].nodeid, Status.REGRESSED),
    ]


def test_a_run_without_tests_is_a_run(tmp_path: Path) -> None:
    runs.write(tmp_path / "run.json", run_of())
    assert runs.load(tmp_path / "run.json") == run_of()
    assert isinstance(runs.load(tmp_path / "run.json"), RunReport)
