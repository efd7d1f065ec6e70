"""Missing baselines, and baselines of other work, are told before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

OTHER_WORK = (
    "vllmperf: test_chat: its baseline was recorded with another workload (output tokens 5 -> 6); its check will be *"
)


def _other_workload(project: Project) -> None:
    project.perf_tests()
    project.record()
    body = (project.root / "test_chat.py").read_text().replace("output_tokens=5", "output_tokens=6")
    project.write("test_chat.py", body)


def test_tests_without_a_baseline_are_named_once_they_are_collected(project: Project) -> None:
    project.perf_tests(*(f"test_{number}" for number in range(6)))
    project.record("-k", "test_0")
    result = project.run("--vllmperf")
    lines = result.outlines
    start = lines.index("vllmperf: 5 of 6 performance tests have no baseline:")
    assert lines[start + 1 : start + 5] == ["  test_1", "  test_2", "  test_3", "  and 2 more"]
    assert lines[start + 5] == "  check() needs one: record it with --vllmperf-update-new"
    assert lines[start - 1].startswith("collected 6 items")
    result.stdout.no_fnmatch_line("*its check will be NO_BASELINE*")


@pytest.mark.parametrize("flag", ["--vllmperf-update", "--vllmperf-update-new"])
def test_what_is_recorded_needs_no_baseline(project: Project, flag: str) -> None:
    project.perf_tests()
    result = project.run(flag)
    result.stdout.no_fnmatch_line("*no baseline*")
    result.stdout.no_fnmatch_line("*NO_BASELINE*")


def test_of_several_workers_one_says_it(project: Project) -> None:
    project.perf_tests("test_chat", "test_more", "test_third")
    result = project.run_apart("--vllmperf", "-n", "2")
    result.stderr.fnmatch_lines(
        [
            "vllmperf gw0: 3 of 3 performance tests have no baseline:",
            "vllmperf gw0: *test_chat",
            "vllmperf gw0: *test_more",
            "vllmperf gw0: *test_third",
            "vllmperf gw0: *check() needs one: record it with --vllmperf-update-new",
        ]
    )
    assert "gw1" not in result.stderr.str()
    assert "its check will be NO_BASELINE" not in result.stderr.str()


def test_another_workload_is_told_in_words_before_it_is_measured(project: Project) -> None:
    _other_workload(project)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([OTHER_WORK, "*NOT_COMPARABLE  test_chat: output tokens 5 -> 6"])


def test_a_worker_says_that_too(project: Project) -> None:
    _other_workload(project)
    project.run_apart("--vllmperf", "-n", "1").stderr.fnmatch_lines([OTHER_WORK.replace("vllmperf:", "vllmperf gw0:")])


def test_quiet_runs_and_those_that_record_anew_say_nothing_of_it(project: Project) -> None:
    _other_workload(project)
    project.run("--vllmperf", "-q").stdout.no_fnmatch_line("*recorded with another workload*")
    project.run("--vllmperf-update").stdout.no_fnmatch_line("*recorded with another workload*")


def test_a_test_that_measures_several_workloads_is_not_warned_of_those_that_are_stored(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_two(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
    more = Workload.synthetic(requests=5, input_tokens=8, output_tokens=5)
    vllmperf.check(vllmperf.measure(more), name="more")
""")
    project.record()
    project.run("--vllmperf").stdout.no_fnmatch_line("*recorded with another workload*")
