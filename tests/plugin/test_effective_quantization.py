"""An engine whose weights are not quantized as was asked for measured something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

UNQUANTIZED = "awq was asked for, but 1 of 1 layers run unquantized (Simulated, 16 bits a weight) [quantization]"
COARSE = "awq means 3.6 to 5.4 bits a weight, but the quantized layers hold 8 [quantization]"


@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-update", "--vllmperf-update-new"])
@pytest.mark.parametrize(("bits", "reason"), [(16, UNQUANTIZED), (8, COARSE)])
def test_it_fails_and_is_never_recorded(
    project: Project, flag: str, bits: float, reason: str, starts: list[str]
) -> None:
    project.perf_tests("test_void", quantization="awq", bits=bits)
    result = project.run(flag)
    result.assert_outcomes(failed=1)
    assert f"INVALID  test_void: {reason}" in result.outlines
    result.stdout.fnmatch_lines(["test_void  INVALID*"])
    result.stdout.no_fnmatch_line("*fixture.py*")
    assert project.files() == {}
    assert len(starts) == 1


def test_under_xdist(project: Project) -> None:
    project.perf_tests("test_void", quantization="awq", bits=16)
    project.perf_tests("test_sound", quantization="awq", bits=4.2, module="test_sound.py")
    result = project.run("--vllmperf-update", "-n", "2")
    result.assert_outcomes(failed=1, passed=1)
    assert f"INVALID  test_void: {UNQUANTIZED}" in result.outlines
    assert list(project.files()) == ["simulated/test_sound.json"]


@pytest.mark.parametrize(
    "engine", [{"quantization": "awq", "bits": 4.2}, {"quantization": "fp8", "bits": 8}, {"bits": 16}]
)
def test_what_was_asked_for_is_sound(project: Project, engine: dict[str, Any]) -> None:
    project.perf_tests(**engine)
    project.record()
    assert project.sessions() == [3]
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  OK*"])
    result.stdout.no_fnmatch_line("*INVALID*")


def test_an_update_keeps_the_baseline_that_there_was(project: Project) -> None:
    project.perf_tests(quantization="awq", bits=4.2)
    project.record()
    before = project.files()
    project.perf_tests(quantization="awq", bits=16)
    project.run("--vllmperf-update").assert_outcomes(failed=1)
    assert project.files() == before


def test_the_measurement_tells_why_without_a_check(project: Project) -> None:
    project.perf_tests(
        check=f"assert [str(problem) for problem in run.problems] == [{UNQUANTIZED!r}]", quantization="awq", bits=16
    )
    project.run("--vllmperf").assert_outcomes(passed=1)
    project.perf_tests(check="assert run.problems == ()", quantization="awq", bits=4.2)
    project.run("--vllmperf").assert_outcomes(passed=1)


@pytest.mark.parametrize("void", ["a", "b"])
@pytest.mark.parametrize("way", ["resident", "restart"])
def test_a_comparison_with_it_fails_too(project: Project, void: str, way: str) -> None:
    a, b = (16 if side == void else 4.2 for side in "ab")
    project.module(f"""
def test_compare(vllmperf):
    a = vllmperf.engine("a", backend="simulated", quantization="awq", bits={a})
    b = vllmperf.engine("b", backend="simulated", quantization="awq", bits={b})
    vllmperf.compare(a, b, WORK, way={way!r})
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    assert f"INVALID  {void} bits=16 quantization=awq: {UNQUANTIZED}" in result.outlines
    result.stdout.no_fnmatch_line("*comparison.py*")
