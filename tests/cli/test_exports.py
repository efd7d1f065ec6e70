"""`vllmperf export` of the file of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from pytest_vllmperf.cli import main
from pytest_vllmperf.interchange.runs.formats import RUN_FORMATS
from pytest_vllmperf.storage import runs
from tests.reporting import check, hostile_run, metric, one_test, run_of

TEXTS = [name for name in RUN_FORMATS if name != "parquet"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.json"
    runs.write(path, hostile_run())
    return path


@pytest.mark.parametrize("form", TEXTS)
def test_what_is_printed_is_what_is_written(
    form: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(file), "--to", form]) == 0
    printed = capsys.readouterr()
    output = tmp_path / "out"
    assert main(["export", str(file), "--to", form, "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"written: {output}\n"
    written = output.read_text(encoding="utf-8")
    if RUN_FORMATS[form].is_json:
        assert json.loads(printed.out) == json.loads(written)
    else:
        assert len(printed.out.splitlines()) == len(written.splitlines())
    assert "\x1b" not in printed.out + written
    assert printed.err == ""


def test_a_command_of_a_ci_in_a_name_is_no_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in TEXTS:
        main(["export", str(file), "--to", form])
        assert not any(line.lstrip().startswith("::") or "##[" in line for line in capsys.readouterr().out.splitlines())


def test_parquet_needs_a_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(file), "--to", "parquet"]) == 2
    assert capsys.readouterr().err == "vllmperf: --to parquet is not text: name a file with --output\n"
    output = tmp_path / "run.parquet"
    assert main(["export", str(file), "--to", "parquet", "--metrics", "ttft.p50", "--output", str(output)]) == 0
    assert set(pyarrow.parquet.read_table(output).column("metric").to_pylist()) == {"ttft.p50"}


def test_one_check_and_chosen_metrics(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "test_a.py::test[<b>markup</b> & [link](x)] # <b>markup</b> & [link](x) 2"
    assert main(["export", str(file), "--to", "bmf", "--name", name, "--metrics", "output_throughput"]) == 0
    assert {key: list(found) for key, found in json.loads(capsys.readouterr().out).items()} == {
        name: ["output_throughput"]
    }


def test_what_is_left_out_is_told_beside_the_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    report = run_of(one_test("t.py::a", check(metric("ttft.p50", (1.0,)))), one_test("t.py::b", outcome="error"))
    runs.write(path, report)
    assert main(["export", str(path), "--to", "bmf"]) == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)) == ["t.py::a"]
    assert printed.err == "without a measurement: t.py::b\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "{file} is the file of a run; say what to make of it: --to pytest-benchmark, bmf, "),
        (["--to", "vllm"], "{file} is the file of a run; say what to make of it: --to "),
        (["--to", "csv"], "--to: 'csv' is "),
        (["--to", "bmf", "--metrics", "ttft"], "--metrics: no metric or set is called 'ttft'"),
        (["--to", "bmf", "--metrics", ""], "nothing to export"),
        (["--to", "bmf", "--name", "x"], "the run has no check 'x'"),
        (["--to", "bmf", "--output", "{file}"], "--output: {file} is a file of pytest-vllmperf; it is not replaced"),
        (["--to", "bmf", "--output", "{file}/x"], "{file}/x: Not a directory"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], told: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    assert main(["export", str(file), *(one.format(file=file) for one in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"vllmperf: {told.format(file=file)}")
    assert printed.err.count("\n") == 1
    assert file.read_bytes() == before


def test_a_file_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("cut.json", b'{"schema": "pytest-vllmperf/run", "ver'), ("text.json", b"hello")):
        (tmp_path / name).write_bytes(content)
        assert main(["export", str(tmp_path / name), "--to", "bmf"]) == 2
        assert f"{name}: not JSON, or truncated" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none.json"), "--to", "bmf"]) == 2
    assert capsys.readouterr().err == f"vllmperf: {tmp_path / 'none.json'}: there is no such file\n"
