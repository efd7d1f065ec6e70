"""Checks that are measured in turns with another interpreter's vLLM, and judged on the ratio."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vllmperf.checking import policy
from pytest_vllmperf.engines.interpreter import look
from pytest_vllmperf.lab import measuring
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.verdict import Evidence, judge
from tests import needs
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

WRAPPED = "stored baseline (does not decide here): "


@pytest.fixture
def stable(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another interpreter with another vLLM."""
    return interpreter(tmp_path_factory.mktemp("stable") / "env")


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """Everything that checks of a run in this process are judged by, one for each look."""
    seen: list[Evidence] = []

    def noted(one: Evidence) -> Any:
        seen.append(one)
        return judge(one)

    monkeypatch.setattr("pytest_vllmperf.checking.check.judge", noted)
    return seen


def text(result: pytest.RunResult) -> str:
    """All that a run prints, without its line breaks."""
    return " ".join(" ".join(result.outlines).split())


def slower(factor: float) -> dict[str, Any]:
    """Arguments of an engine whose reference takes `factor` times as long a step."""
    elsewhere = {"step_seconds": 0.01 * factor, "prefill_seconds_per_token": 0.0001 * factor}
    return {"step_seconds": 0.01, "noise": 0.001, "elsewhere": elsewhere}


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, "OK"), (0.8, "REGRESSED"), (0.9, "REGRESSED"), (1.25, "IMPROVED")]
)
def test_the_ratio_decides_and_no_baseline_is_needed(
    project: Project, stable: str, workers: list[str], factor: float, status: str
) -> None:
    project.perf_tests(**slower(factor))
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", "--junit-xml=report.xml", *workers)
    failed = status == "REGRESSED"
    result.assert_outcomes(failed=int(failed), passed=int(not failed))
    found = {
        one.get("name"): one.get("value") for one in ElementTree.parse(project.root / "report.xml").iter("property")
    }
    assert found["vllmperf.against"] == f"vLLM 0.29.0 of {stable}"
    assert found["vllmperf.way"] == "both resident"
    assert found["vllmperf.status"] == status or (status, found["vllmperf.status"]) == ("IMPROVED", "OK")
    assert f"judged by the ratio to vLLM 0.29.0 of {stable}, measured in turns, both resident" in text(result)
    assert not project.files()


def test_each_round_is_on_a_fresh_engine_of_both_and_reaches_the_judge(
    project: Project, stable: str, starts: list[str], evidence: list[Evidence]
) -> None:
    project.perf_tests(**slower(0.8))
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(failed=1)
    assert [(len(one.engines), len(one.reference)) for one in evidence] == [(1, 1), (2, 2), (3, 3)]
    assert len(starts) == 6
    last = evidence[-1]
    assert (list(last.sessions), list(last.differences), list(last.problems)) == ([], [], [])
    assert last.against == f"vLLM 0.29.0 of {stable}"
    steps = [[one.values("tpot.p50")[0] for one in side] for side in (last.engines, last.reference)]
    assert steps[0] == pytest.approx([0.01] * 3, rel=0.01)
    assert steps[1] == pytest.approx([0.008] * 3, rel=0.01)
    assert all(one.iterations == 10 for one in (*last.engines, *last.reference))


def test_an_odd_number_of_iterations_is_raised_by_one(project: Project, stable: str, evidence: list[Evidence]) -> None:
    project.perf_tests()
    project.run("--vllmperf", f"--vllmperf-against={stable}", "--vllmperf-iterations=5")
    assert [one.iterations for one in (*evidence[0].engines, *evidence[0].reference)] == [6, 6]


def test_tests_on_one_engine_share_each_start_of_both(project: Project, stable: str, starts: list[str]) -> None:
    project.perf_tests("test_a", "test_b", "test_c", **slower(0.8))
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(failed=3)
    assert len(starts) == 3 * 2


def test_a_failure_says_against_what(project: Project, stable: str) -> None:
    project.perf_tests(**slower(0.8))
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.stdout.fnmatch_lines(["REGRESSED output throughput *"])
    said = text(result)
    assert "3 rounds x 10 iterations in turns" in said
    assert f"judged by the ratio to vLLM 0.29.0 of {stable}, measured in turns, both resident" in said
    result.stdout.no_fnmatch_line("*NO_BASELINE*")


def test_what_the_stored_baseline_says_is_told_beside_it(project: Project, stable: str, workers: list[str]) -> None:
    """The reference is as slow as the engine has become: the stored baseline alone finds that, and does not decide."""
    project.perf_tests(**slower(1.0))
    project.record()
    before = project.files()
    project.perf_tests(step_seconds=0.02, noise=0.001)
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", "--junit-xml=report.xml", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  OK*", f"  {WRAPPED}REGRESSED", "    REGRESSED output throughput *"])
    assert 'name="vllmperf.by_baseline" value="REGRESSED"' in (project.root / "report.xml").read_text()
    assert project.files() == before
    result = project.run("--vllmperf", "--vllmperf-against=off")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*in turns*")


def test_a_failure_tells_of_the_stored_baseline_too(project: Project, stable: str) -> None:
    project.perf_tests(**slower(1.0))
    project.record()
    project.perf_tests(**slower(0.8))
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED output throughput *", f"{WRAPPED}OK"])


def test_ini(project: Project, stable: str, evidence: list[Evidence]) -> None:
    project.ini(f"vllmperf_against = {stable}")
    project.perf_tests()
    project.run("--vllmperf").assert_outcomes(passed=1)
    assert [len(one.reference) for one in evidence] == [1]
    evidence.clear()
    project.run("--vllmperf", "--vllmperf-against=off").assert_outcomes(failed=1)
    assert [len(one.reference) for one in evidence] == [0]


def test_marker(project: Project, stable: str, workers: list[str]) -> None:
    project.perf_tests("test_fast", marks=[f"@pytest.mark.vllmperf(against={stable!r})"], **slower(1.0))
    project.perf_tests(
        "test_slow", marks=[f"@pytest.mark.vllmperf(against={stable!r})"], module="test_b.py", **slower(0.8)
    )
    project.perf_tests("test_stored", module="test_c.py")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["test_slow * REGRESSED*", "test_stored * NO_BASELINE*", "test_fast * OK*"])


def test_marker_over_option(project: Project, stable: str, tmp_path: Path, evidence: list[Evidence]) -> None:
    other = interpreter(tmp_path / "other", "0.28.1")
    project.perf_tests("test_other", module="test_a.py", marks=[f"@pytest.mark.vllmperf(against={other!r})"])
    project.perf_tests("test_none", marks=["@pytest.mark.vllmperf(against='off')"], module="test_b.py")
    project.perf_tests("test_option", module="test_c.py")
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(passed=2, failed=1)
    assert [one.against for one in evidence] == [f"vLLM 0.28.1 of {other}", "", f"vLLM 0.29.0 of {stable}"]


def test_the_header_names_the_reference(project: Project, stable: str, workers: list[str]) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", *workers)
    result.stdout.fnmatch_lines([f"vllmperf: checks are measured in turns with vLLM 0.29.0 of {stable}"])


@needs.VLLM
@pytest.mark.parametrize("link", [False, True])
def test_the_same_vllm_is_an_a_a_run_and_says_so(
    project: Project, tmp_path: Path, starts: list[str], evidence: list[Evidence], link: bool
) -> None:
    """Be it by another path: the vLLM that both find decides."""
    python = sys.executable
    if link:
        python = interpreter(tmp_path / "env", "")
        vllm = interpreter_vllm()
        (next((tmp_path / "env" / "lib").glob("*/site-packages")) / "vllm").symlink_to(vllm)
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-against={python}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["vllmperf: checks are measured in turns with *, the same vLLM as this interpreter's: an A/A run"]
    )
    assert "(the same vLLM: an A/A run)" in text(result)
    assert len(starts) == 2
    assert [(len(one.engines), len(one.reference)) for one in evidence] == [(1, 1)]


def interpreter_vllm() -> Path:
    """Where this interpreter has its vLLM."""
    return Path(look("", sys.executable, {}).folder)


def refused(project: Project, value: str, *words: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-against={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: --vllmperf-against: ")
    for word in words:
        assert word in line


def test_an_interpreter_that_is_not_there(project: Project) -> None:
    refused(project, "/nowhere/python", "'/nowhere/python' is not an executable interpreter")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("echo hello", "its version query returned 'hello'"),
        ("echo broken >&2; exit 3", "it exited with status 3 and printed 'broken'"),
        ("", "nothing"),
    ],
)
def test_a_program_that_is_no_interpreter(project: Project, tmp_path: Path, body: str, word: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    refused(project, str(program), f"{program} is not a Python interpreter", word)


def test_a_file_that_cannot_be_started(project: Project, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o755)
    refused(project, str(program), f"{program} cannot be started")


def test_an_interpreter_without_vllm(project: Project, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "env", "")
    refused(project, python, f"vLLM is not installed for {python}; install it there with pip install")


@pytest.mark.parametrize("twin", [[], ["-n", "1"]])
def test_a_marker_with_a_bad_interpreter_is_refused_in_a_line(
    project: Project, tmp_path: Path, twin: list[str]
) -> None:
    python = interpreter(tmp_path / "env", "")
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(against={python!r})"])
    result = project.run("--vllmperf", *twin)
    assert result.ret != pytest.ExitCode.OK
    assert f"vLLM is not installed for {python}" in text(result) + " ".join(result.errlines)


@pytest.mark.parametrize("flag", ["--vllmperf-update", "--vllmperf-update-new", "--vllmperf-append"])
@pytest.mark.parametrize("by", ["option", "ini", "marker"])
def test_figures_in_turns_are_not_stored(project: Project, stable: str, flag: str, by: str) -> None:
    if by == "ini":
        project.ini(f"vllmperf_against = {stable}")
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(against={stable!r})"] if by == "marker" else [])
    result = project.run(flag, *([f"--vllmperf-against={stable}"] if by == "option" else []))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert f"such measurements are not stored. Leave {flag} out" in line
    assert not project.files()


@pytest.mark.parametrize("mark", ["", "@pytest.mark.vllmperf(unsupported='skip')"])
def test_a_reference_that_refuses_the_engine_is_invalid_with_its_reason(
    project: Project, stable: str, mark: str, workers: list[str]
) -> None:
    project.perf_tests(marks=[mark] if mark else [], step_seconds=0.01, elsewhere={"fail": "load"})
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", *workers)
    result.assert_outcomes(failed=1)
    said = text(result)
    assert f"INVALID test_chat.py::test_chat: the reference, vLLM 0.29.0 of {stable}, cannot run sim" in said
    assert "scripted failure" in said
    assert (
        "Compare with the stored baseline instead (--vllmperf-against=off), or use an engine that both can run"
    ) in said
    assert "scripted log" in said


@pytest.mark.parametrize(("fail", "during"), [("run", ""), ("again", "measured again: ")])
def test_a_reference_that_dies_is_named(project: Project, stable: str, fail: str, during: str) -> None:
    script = slower(0.8)
    project.perf_tests(**script | {"elsewhere": script["elsewhere"] | {"fail": fail}})
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    assert f"{during}the reference, vLLM 0.29.0 of {stable}, cannot run" in text(result)
    assert "was ended by SIGKILL during run" in text(result)


def test_an_engine_that_fails_itself_is_not_taken_for_the_reference(project: Project, stable: str) -> None:
    project.perf_tests(step_seconds=0.01, fail="load", elsewhere={"fail": ""})
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    assert "the reference" not in text(result).split("short test summary")[0]


def test_a_reference_whose_measurement_is_void_voids_the_round(project: Project, stable: str) -> None:
    project.perf_tests(step_seconds=0.01, elsewhere={"fail": "short"})
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID *test_chat: of the reference: *", "test_chat  INVALID*"])


def test_a_round_that_met_what_another_does_not_is_left_out_on_both_sides(
    project: Project, stable: str, evidence: list[Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measuring.validity.problems
    calls = [0]

    def problems(*args: Any) -> Any:
        calls[0] += 1
        return [Problem("throttling", "it ran hot")] if calls[0] == 2 else found(*args)  # the first round's reference

    monkeypatch.setattr("pytest_vllmperf.lab.measuring.validity.problems", problems)
    project.perf_tests(**slower(0.8))
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    assert [(len(one.engines), len(one.reference)) for one in evidence] == [(1, 1), (2, 2), (3, 3)]
    assert calls[0] == 8
    assert "one engine start left out: of the reference: it ran hot" in text(result)


def test_another_backend_is_refused_in_a_line(project: Project, stable: str) -> None:
    body = """
@pytest.mark.vllm("vllmperf:tiny", backend="transformers")
def test_reference(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
"""
    project.module(body)
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    assert "the transformers reference does not run vLLM in a local interpreter" in text(result)


def test_an_engine_that_names_its_own_interpreter_is_the_new_side(
    project: Project, stable: str, tmp_path: Path, evidence: list[Evidence]
) -> None:
    own = interpreter(tmp_path / "own", "0.31.0")
    project.perf_tests(python=own, **slower(1.0))
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(passed=1)
    assert evidence[0].against == f"vLLM 0.29.0 of {stable}"
    evidence.clear()
    project.run("--vllmperf", f"--vllmperf-against={own}").assert_outcomes(passed=1)
    assert evidence[0].against == f"vLLM 0.31.0 of {own} (the same vLLM: an A/A run)"


@needs.VLLM
def test_a_variable_that_leads_both_to_one_vllm_makes_it_an_a_a_run(
    project: Project, stable: str, evidence: list[Evidence]
) -> None:
    folder = str(interpreter_vllm().parent)
    project.perf_tests(env={"PYTHONPATH": folder})
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(passed=1)
    assert evidence[0].against.endswith(f"of {stable} (the same vLLM: an A/A run)")


def test_secrets_of_the_engine_are_not_shown_by_its_reference(project: Project, stable: str) -> None:
    env = {"API_TOKEN": "correct-horse-battery"}
    project.perf_tests(env=env, elsewhere={"fail": "load"}, quantization="correct-horse-battery")
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    assert "correct-horse-battery" not in text(result).replace("quantization='correct-horse-battery'", "")


def test_every_test_counts_in_the_error_budget_without_a_baseline(
    project: Project, stable: str, evidence: list[Evidence]
) -> None:
    project.perf_tests(*(f"test_{number}" for number in range(9)))
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(passed=9)
    assert [one.settings.a_fail for one in evidence] == [policy.a_fail(36)] * 9


def test_a_row_of_a_scorecard_keeps_both_engines(project: Project, stable: str, starts: list[str]) -> None:
    project.perf_tests("test_a", "test_b", marks=["@pytest.mark.scorecard('card', baseline='test_a')"])
    project.run("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(passed=2)
    assert len(starts) == 2


def test_a_path_behind_a_blank_must_not_exchange_the_configuration(project: Project, stable: str) -> None:
    """pytest looks for its configuration before it knows this option: the interpreter would be taken for a test."""
    project.perf_tests()
    result = project.run_apart("--vllmperf", "--vllmperf-against", stable)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wanted = f"ERROR: write --vllmperf-against={stable}, with '=' instead of a space: *reads * instead of "
    wanted += str(project.root / "pytest.ini")
    result.stderr.fnmatch_lines([wanted])
    project.run_apart("--vllmperf", f"--vllmperf-against={stable}").assert_outcomes(passed=1)
    project.run_apart("--vllmperf", "--vllmperf-against", stable, "-c", "pytest.ini").assert_outcomes(passed=1)
