"""An armed run that judged nothing fails, and a measurement that nobody looked at is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

NOTHING = "ERROR: nothing was judged: no performance test was selected; a gate that*"
ORDINARY = "def test_ordinary(): pass\n"


def test_a_run_without_performance_tests_fails(project: Project, workers: list[str]) -> None:
    project.module(ORDINARY)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([NOTHING])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.run().ret == pytest.ExitCode.OK, "an unarmed run is not valid; choose one of its business"


def test_a_run_that_deselects_them_fails(project: Project) -> None:
    project.perf_tests()
    project.module(ORDINARY, "test_more.py")
    result = project.run("--vllmperf", "-k", "ordinary")
    result.stdout.fnmatch_lines([NOTHING])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_pytests_own_status_for_no_tests_stays(project: Project) -> None:
    project.perf_tests()
    assert project.run("--vllmperf", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_forgotten_check_is_reported_and_alone_fails_the_run(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="pass")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    text = " ".join(line.strip() for line in result.outlines)
    assert "test_chat.py::test_chat: a measurement was never checked; call vllmperf.check(run)" in text
    assert "ERROR: nothing was judged: no measurement was checked or compared" in text
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_beside_a_judged_one_it_is_reported(project: Project) -> None:
    project.perf_tests(check="vllmperf.measure(WORK); vllmperf.check(run)")
    project.record()
    result = project.run("--vllmperf")
    assert "a measurement was never checked" in " ".join(result.outlines)
    assert result.ret == pytest.ExitCode.OK


def test_a_fixture_that_was_never_used_is_reported(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.module("def test_idle(vllmperf): pass\n", "test_idle.py")
    result = project.run("--vllmperf")
    result.stdout.fnmatch_lines(
        [
            "test_idle.py::test_idle: the test uses the vllmperf fixture but measures",
            "    nothing; call vllmperf.measure()",
        ]
    )
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("use", ["assert run.ttft.p50 < 1", "assert run.output_throughput > 1"])
def test_an_assertion_of_the_tests_own_is_a_judgement(project: Project, use: str, workers: list[str]) -> None:
    project.perf_tests(check=use)
    result = project.run("--vllmperf", *workers)
    assert result.ret == pytest.ExitCode.OK
    assert "never checked" not in result.stdout.str()


@pytest.mark.parametrize("flag", ["--collect-only", "--setup-plan", "--setup-only"])
def test_a_run_that_only_looks_is_no_gate(project: Project, flag: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", flag)
    assert "ERROR" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.OK


COMPARED = """
def test_compare(vllmperf):
    slow = vllmperf.engine("sim", backend="simulated", step_seconds=0.02)
    compared = vllmperf.compare(slow, vllmperf.engine("sim", backend="simulated"), WORK, iterations=2)
    {use}
"""
NEVER = "test_chat.py::test_compare: a comparison was never asserted; call assert_speedup() or assert_not_slower() of"


def test_a_comparison_without_an_assertion_is_reported(project: Project, workers: list[str]) -> None:
    """A report shows its ratio, be it half as fast; nothing in the test fails for it."""
    project.module(COMPARED.format(use="assert compared"))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert NEVER in " ".join(" ".join(result.outlines).split())


@pytest.mark.parametrize(
    "use",
    [
        "compared.assert_speedup(0.1)",
        "assert compared.speedup('tpot.p50').ratio < 1",
        "assert compared.a.tpot.p50 > compared.b.tpot.p50",
        "assert compared.measure_quality().agreement",
        "compared.assert_same_chat_template([[{'role': 'user', 'content': 'x'}]])",
        "compared.assert_speedup(2)",
        "pytest.skip()",
    ],
)
def test_one_that_a_test_looks_at_is_not(project: Project, use: str) -> None:
    project.module(COMPARED.format(use=use))
    assert "never asserted" not in project.run("--vllmperf").stdout.str()
