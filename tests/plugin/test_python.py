"""`--vllmperf-python`: engines of a run on another interpreter's vLLM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.storage.runs import load
from tests.interpreters import interpreter
from tests.plugin.test_against import text

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def old(tmp_path: Path) -> str:
    """An interpreter with a vLLM that is as fast as this one's."""
    return interpreter(tmp_path / "old", "0.31.0")


@pytest.fixture
def new(tmp_path: Path) -> str:
    """An interpreter with a vLLM that is slower, by `SLOWER`."""
    return interpreter(tmp_path / "new", "0.33.0")


SLOWER = {"/new/bin/": {"step_seconds": 0.0125, "seed": 7}, "/old/bin/": {"step_seconds": 0.01}}


def test_engines_run_on_the_other_interpreter(project: Project, old: str, new: str, workers: list[str]) -> None:
    project.perf_tests(interpreters=SLOWER, noise=0.001)
    options = ["--vllmperf", f"--vllmperf-against={old}", "--vllmperf-json=run.json", *workers]
    project.run(*options).assert_outcomes(passed=1)
    result = project.run(*options, f"--vllmperf-python={new}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"vllmperf: engines run on vLLM 0.33.0 of {new}",
            f"vllmperf: checks are measured in turns with vLLM 0.31.0 of {old}",
            "REGRESSED output throughput *",
        ]
    )
    report = load(project.root / "run.json")
    assert report.run.options["python"] == new
    ((_, check),) = report.checks
    judged = check.metrics["tpot.p50"].judged
    assert judged is not None
    assert (judged.baseline, judged.now) == (pytest.approx(0.01, rel=0.01), pytest.approx(0.0125, rel=0.01))


def test_without_a_reference_the_stored_baseline_judges(project: Project, new: str, workers: list[str]) -> None:
    project.perf_tests(interpreters=SLOWER)
    project.record()
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    project.run("--vllmperf", f"--vllmperf-python={new}", *workers).assert_outcomes(failed=1)


def test_ini_and_off(project: Project, new: str) -> None:
    project.ini(f"vllmperf_python = {new}")
    project.perf_tests(interpreters=SLOWER)
    project.record("--vllmperf-python=off")
    project.run("--vllmperf").assert_outcomes(failed=1)
    project.run("--vllmperf", "--vllmperf-python=off").assert_outcomes(passed=1)


def test_the_same_interpreter_on_both_sides_is_an_a_a_run(project: Project, new: str) -> None:
    project.perf_tests(interpreters=SLOWER)
    result = project.run("--vllmperf", f"--vllmperf-against={new}", f"--vllmperf-python={new}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"vllmperf: checks * vLLM 0.33.0 of {new}, the same vLLM as the engines': an A/A run"])
    assert "(the same vLLM: an A/A run)" in text(result)


def test_an_engine_that_names_its_own_interpreter_is_refused(
    project: Project, old: str, new: str, workers: list[str]
) -> None:
    project.perf_tests(python=old, interpreters=SLOWER)
    result = project.run("--vllmperf", f"--vllmperf-against={old}", f"--vllmperf-python={new}", *workers)
    result.assert_outcomes(failed=1)
    assert "names its own interpreter (python=), which --vllmperf-python does not replace" in text(result)
    project.run("--vllmperf", f"--vllmperf-against={new}", f"--vllmperf-python={old}", *workers).assert_outcomes(
        passed=1
    )


def test_an_engine_that_no_vllm_runs_stays_where_it_is(project: Project, new: str) -> None:
    body = """
def test_reference(vllmperf):
    spec = vllmperf.engine("vllmperf:tiny", backend="transformers")
    assert vllmperf._target(spec).spec.python == PYTHON
    assert vllmperf._target(vllmperf.engine("m", backend="simulated")).spec.python == NEW
"""
    project.module(body.replace("PYTHON", repr(sys.executable)).replace("NEW", repr(new)))
    result = project.run("--vllmperf", f"--vllmperf-python={new}")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("value", ["/nowhere/python", "EMPTY"])
def test_an_interpreter_that_cannot_be_one_is_refused(project: Project, tmp_path: Path, value: str) -> None:
    project.perf_tests()
    python = interpreter(tmp_path / "empty", "") if value == "EMPTY" else value
    result = project.run("--vllmperf", f"--vllmperf-python={python}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: --vllmperf-python: ")
    assert python in line
