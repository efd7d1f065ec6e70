from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_unarmed_skips_performance_tests_with_the_reason(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.write("test_plain.py", "def test_plain(): pass\n")
    result = project.run("-rs", *workers)
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED * needs --vllmperf"])
    assert result.ret == pytest.ExitCode.OK
    assert project.files() == {}


def test_unarmed_skips_a_test_that_asks_for_the_fixture_while_it_runs(project: Project) -> None:
    project.module("def test_late(request):\n    request.getfixturevalue('vllmperf')\n")
    result = project.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * needs --vllmperf"])


def test_unarmed_skips_a_test_whose_own_fixture_measures(project: Project) -> None:
    project.module("@pytest.fixture\ndef run(vllmperf):\n    raise AssertionError\n\ndef test_run(run): pass\n")
    project.run().assert_outcomes(skipped=1)


def test_unarmed_looks_at_no_marker_setting_or_baseline(project: Project) -> None:
    project.ini("vllmperf_margin = nonsense")
    project.perf_tests(marks=['@pytest.mark.gpu(min_vram="16GiBB")'])
    project.write("baselines/simulated/test_chat.json", "{")
    result = project.run()
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.OK


def test_armed_runs_them_against_the_baseline(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    recorded = project.files()
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*= vllmperf: simulated =*", "test_a  OK*", "test_b  OK*"])
    assert result.ret == pytest.ExitCode.OK
    assert project.files() == recorded


def test_armed_without_a_warning_of_its_own(project: Project) -> None:
    project.perf_tests()
    project.record("-W", "error")
    project.run("--vllmperf", "-W", "error", "--strict-config", "--strict-markers").assert_outcomes(passed=1)


def test_failing_gate_is_exit_code_1(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.02)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_works_without_cache_terminal_and_capture(project: Project) -> None:
    project.perf_tests()
    project.record()
    for plugin in ("cacheprovider", "terminal", "capture"):
        assert project.run("--vllmperf", "-p", f"no:{plugin}").ret == pytest.ExitCode.OK


def test_a_test_without_an_engine_says_what_to_do(project: Project) -> None:
    project.module("def test_none(vllmperf):\n    vllmperf.measure(WORK)\n")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_chat.py::test_none: no engine to measure; *@pytest.mark.vllm*"])
    result.stdout.no_fnmatch_line("*fixture.py*")


def test_a_measurement_needs_no_check(project: Project) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0 and run.output_throughput > 0")
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
