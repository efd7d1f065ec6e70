from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LONG = "test_a_very_long_name_that_says_all_there_is_to_say_about_one_model_on_one_workload"


PARAMETERS = """
ENGINE = {"backend": "simulated", "step_seconds": 0.01}

@pytest.mark.vllm("sim", **ENGINE)
@pytest.mark.parametrize("model", ["org/small::8b-instruct", "org/large::8b-instruct", "größe-好"])
def test_model(vllmperf, model):
    vllmperf.check(vllmperf.measure(WORK))

def test_pair(vllmperf):
    a, b = vllmperf.engine("sim", **ENGINE), vllmperf.engine("sim", **ENGINE, max_num_seqs=2)
    vllmperf.compare(a, b, WORK)
"""


def _section(result: pytest.RunResult) -> list[str]:
    """The lines of the summary section."""
    lines = result.outlines
    start = next(n for n, line in enumerate(lines) if "= vllmperf" in line)
    ends = (n for n, line in enumerate(lines) if n > start and (line.startswith("=====") or " passed in " in line))
    return [line for line in lines[start : next(ends)] if line]


def _rows(result: pytest.RunResult) -> list[list[str]]:
    return [line.split() for line in _section(result)[2:]]


def test_heads_and_cells(project: Project) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    result = project.run("--vllmperf")
    title, head, *rows = _section(result)
    assert "vllmperf: simulated" in title
    assert head.split() == ["test", "verdict", "output", "throughput", "change", "[99.5", "%", "CI]", "detects"]
    assert [row.split()[:4] for row in rows[:2]] == [
        ["test_a", "OK", "375.9", "tok/s"],
        ["test_b", "OK", "375.9", "tok/s"],
    ]
    assert re.fullmatch(r"test_a  OK +375.9 tok/s  \+0.0 % \[-\d.\d, \+\d.\d\]  \d.\d %", rows[0])
    assert rows[2:] == [
        "detects: smallest slowdown that the baseline detects (80 % of the time)",
        "6 other gated metrics OK (-v shows them)",
    ]


@pytest.mark.parametrize("step", [0.01, 0.005, 0.02, 0.0001])
@pytest.mark.parametrize("recorded", ["same", "other workload", "nothing"])
def test_80_columns(project: Project, step: float, recorded: str) -> None:
    if recorded != "nothing":
        project.perf_tests(f"{LONG}_1", f"{LONG}_2")
        if recorded == "other workload":
            body = (project.root / "test_chat.py").read_text().replace("output_tokens=5", "output_tokens=6")
            project.write("test_chat.py", body)
        project.record()
    project.perf_tests(f"{LONG}_1", f"{LONG}_2", step_seconds=step, prefill_seconds_per_token=0.0)
    result = project.run("--vllmperf")
    lines = _section(result)
    assert len(lines) >= 4
    assert [line for line in lines if len(line) > 80] == []


def test_shortened_names_can_be_told_apart(project: Project) -> None:
    project.perf_tests(f"{LONG}_1", f"{LONG}_2")
    result = project.run("--vllmperf-update")
    names = [row[0] for row in _rows(result) if row[-1] == "RECORDED"]
    assert len(set(names)) == 2
    assert names[0].endswith("_1")
    assert names[1].endswith("_2")


def test_tests_of_one_name_in_two_modules_can_be_told_apart(project: Project) -> None:
    project.perf_tests("test_same", module="test_one.py")
    project.perf_tests("test_same", module="test_two.py")
    result = project.run("--vllmperf-update")
    names = [" ".join(row) for row in _rows(result) if "RECORDED" in row]
    assert len(names) == 2
    assert len(set(names)) == 2


def test_what_was_not_measured_is_never_zero(project: Project) -> None:
    project.module("""
WORK = Workload.synthetic(requests=4, input_tokens=8, output_tokens=1)

@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_one_token(vllmperf):
    run = vllmperf.measure(WORK)
    vllmperf.check(run)
    with pytest.raises(Exception, match="TPOT p50 was not measured"):
        run.tpot.p50
""")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=1)
    assert next(row[:2] for row in _rows(result)) == ["test_one_token", "RECORDED"]
    result.stdout.no_fnmatch_line("*TPOT p50 *0*")
    assert "tpot.p50" not in project.engine("test_one_token")["samples"]


def test_a_metric_that_is_lost_reads_not_measured(project: Project) -> None:
    project.perf_tests(check="vllmperf.check(run, gate='tpot.p50')")
    project.record()
    text = project.baseline().read_text()
    project.baseline().write_text(text.replace('"tpot.p50"', '"resident_bytes"'))
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID TPOT p50 not measured -> 10 ms, margin 5 %*"])


def test_quiet_runs_keep_the_table(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf-update", "-q")
    assert _rows(result)[0][:2] == ["test_chat", "RECORDED"]


def test_order_is_by_module_and_name(project: Project) -> None:
    project.perf_tests("test_b", "test_a", module="test_two.py")
    project.perf_tests("test_d", "test_c", module="test_one.py", step_seconds=0.02)
    result = project.run("--vllmperf-update")
    text = " ".join(" ".join(row) for row in _rows(result) if "RECORDED" in row)
    places = [text.index(name) for name in ("test_c", "test_d", "test_a", "test_b")]
    assert places == sorted(places)


def test_modules_of_one_name_in_two_folders_can_be_told_apart(project: Project, workers: list[str]) -> None:
    for folder in ("a", "b"):
        project.module(PARAMETERS, name=f"{folder}/test_same.py")
    result = project.run("--vllmperf-update", "--import-mode=importlib", *workers)
    result.assert_outcomes(passed=8)
    lines = _section(result)
    names = [line.split()[0] for line in lines if re.search(r"  RECORDED(?: |$)", line)]
    assert len(names) == len(set(names)) == 6
    assert {name.split("::")[0] for name in names} == {"a/test_same", "b/test_same"}
    compared = [line.split(":")[0] for line in lines if " against " in line]
    assert compared == ["a/test_same", "b/test_same"]


@pytest.mark.parametrize("columns", [80, 120])
def test_names_are_as_wide_as_the_terminal_allows(
    project: Project, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    project.perf_tests(f"{LONG}_1", f"{LONG}_2")
    result = project.run("--vllmperf-update")
    heads = [line for line in _section(result) if re.search(r"  RECORDED(?: |$)", line)]
    names = [line.split()[0] for line in heads]
    assert len(set(names)) == 2
    whole = len(f"{LONG}_1  RECORDED") <= columns
    assert (names == [f"{LONG}_1", f"{LONG}_2"]) is whole
    assert whole or all(len(line) == columns for line in heads)
