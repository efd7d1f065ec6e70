"""`vllmperf sweep`."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.cli.sweep import Line
from pytest_vllmperf.lab import leases
from pytest_vllmperf.sweep.runner import Progress

Capture = pytest.CaptureFixture[str]

STUDY = """\
iterations = 3
warmup = 0

[engine]
model = "m"
backend = "simulated"

[workload]
requests = 32
input_tokens = 8
output_tokens = 4

[[axis]]
name = "max_num_seqs"
values = [2, 8]

[[axis]]
name = "concurrency"
values = [1, 2, 4, 8, 16]
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    path = tmp_path / "study.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


def sweep(*arguments: str | Path) -> int:
    return cli.main(["sweep", *(str(one) for one in arguments)])


def test_a_table_knees_and_progress(study: Path, capsys: Capture) -> None:
    assert sweep(study) == 0
    told = capsys.readouterr()
    assert told.out.startswith("study: m, 10 points\n")
    assert "knee at max_num_seqs=2: concurrency=2 (95 %: 2)" in told.out
    assert "knee at max_num_seqs=8: concurrency=8 (95 %: 8)" in told.out
    assert told.err.splitlines()[0] == "0 of 10 points: max_num_seqs=2 concurrency=1"
    assert told.err.splitlines()[-1] == "10 of 10 points"


def test_a_second_run_measures_nothing_and_says_the_same(study: Path, capsys: Capture) -> None:
    assert sweep(study) == 0
    first = capsys.readouterr().out
    written = study.with_name("study.results.json").stat()
    assert sweep(study) == 0
    assert capsys.readouterr() == (first, "10 of 10 points\n")
    assert study.with_name("study.results.json").stat().st_mtime_ns == written.st_mtime_ns
    assert sweep(study, "--show") == 0
    assert capsys.readouterr() == (first, "")


def test_json_has_all_samples(study: Path, tmp_path: Path, capsys: Capture) -> None:
    assert sweep(study, "--json", "--results", tmp_path / "kept.json") == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["points"]) == 10
    assert len(data["points"][0]["engines"][0]["samples"]["output_throughput"]) == 3
    assert [knee["load"] for knee in data["knees"]] == [2, 8]
    assert (tmp_path / "kept.json").exists()


def test_a_sweep_that_is_killed_goes_on(study: Path, capsys: Capture) -> None:
    loads = ", ".join(map(str, range(1, 100)))
    study.write_text(
        STUDY.replace("[1, 2, 4, 8, 16]", f"[{loads}]").replace("requests = 32", "requests = 100"), encoding="utf-8"
    )
    results = study.with_name("study.results.json")
    command = [sys.executable, "-c", f"from pytest_vllmperf import cli; cli.main(['sweep', {str(study)!r}])"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not results.exists():
            assert running.poll() is None
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = json.loads(results.read_text(encoding="utf-8"))["points"]
    assert 1 <= len(done) < 198
    assert sweep(study, "--show") == 0
    assert f"{198 - len(done)} still to measure" in capsys.readouterr().out


def test_nothing_to_show(study: Path, capsys: Capture) -> None:
    assert sweep(study, "--show") == 2
    assert "study.results.json: there is no such file; nothing is measured yet" in capsys.readouterr().err


def test_bad_input_is_one_line(study: Path, capsys: Capture) -> None:
    study.write_text(STUDY.replace("[engine]", "stage = ['a']\n[engine]"), encoding="utf-8")
    assert sweep(study) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"vllmperf: {study}: there is no entry stage; did you mean 'stages'?\n"


def test_where_all_points_fail_the_exit_code_says_so_and_retry_measures_them_again(
    study: Path, capsys: Capture
) -> None:
    study.write_text(STUDY.replace('"simulated"', '"simulated"\nfail = "load"'), encoding="utf-8")
    assert sweep(study) == 2
    assert "10 points did not start: the simulated engine refused m: scripted failure" in capsys.readouterr().out
    assert sweep(study) == 2
    assert capsys.readouterr().err == "10 of 10 points, 10 failed\n"
    assert sweep(study, "--retry") == 2
    assert capsys.readouterr().err.startswith("0 of 10 points: ")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    line = Line(stream)
    line.points(Progress(3, 24, 0, 42.0, "concurrency=8 " * 9))
    line.engine("m: start\x1b[31m", 7.4)
    line.end()
    shown = stream.getvalue().split("\r\x1b[K")
    assert shown[1].startswith("3 of 24 points, about 42 s left: concurrency=8")
    assert len(shown[1]) == 59
    assert shown[2] == "3 of 24 points, about 42 s left: m: start\\x1b[31m (7 s)"
    assert shown[3] == ""
    assert "\n" not in stream.getvalue()


def test_elsewhere_only_what_takes_long_is_told_once_a_minute() -> None:
    stream = io.StringIO()
    line = Line(stream)
    line.points(Progress(3, 24, 0, None, "a=1"))
    for waited in (1.0, 9.0, 11.0, 12.0, 70.0, 72.0):
        line.engine("waiting for a lease", waited)
    line.engine("loading", 3.0)
    line.engine("loading", 12.0)
    assert stream.getvalue().splitlines() == [
        "3 of 24 points: a=1",
        "3 of 24 points: waiting for a lease (11 s)",
        "3 of 24 points: waiting for a lease (72 s)",
        "3 of 24 points: loading (12 s)",
    ]


def test_a_log_gets_a_line_a_minute_of_each_worker(capsys: Capture) -> None:
    stream = io.StringIO()
    line = Line(stream)
    for second in range(75):
        line.engine("worker 1: importing vLLM", second)
        line.engine("worker 2: waiting for cpu", second + 3)
    line.engine("worker 1: importing vLLM", 12)  # again, by another engine
    told = [text.rpartition(": ")[2] for text in stream.getvalue().splitlines()]
    assert told == [
        "waiting for cpu (10 s)",
        "importing vLLM (10 s)",
        "waiting for cpu (70 s)",
        "importing vLLM (70 s)",
        "importing vLLM (12 s)",
    ]
