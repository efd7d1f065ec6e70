"""Absolute limits: beside a baseline, while recording, and alone. The simulated engine's TTFT p50 is 10 ms."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import load

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

KEPT = "limits={'ttft.p50': 0.5, 'output_throughput': 1}"
BROKEN = "limits={'ttft.p50': 0.001}"


def marked(project: Project, words: str, **engine: object) -> None:
    project.perf_tests(marks=[f"@pytest.mark.vllmperf({words})"], **engine)


def test_kept_limits_are_told_beside_the_baseline(project: Project, workers: list[str]) -> None:
    marked(project, KEPT)
    project.record(*workers)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    told = " ".join(result.stdout.str().split())
    assert "test_chat: within its limits: output throughput " in told
    assert "(at least 1 tok/s), TTFT p50 " in told
    assert "(at most 500 ms)" in told


def test_a_broken_limit_fails_though_nothing_got_slower(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    marked(project, BROKEN)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BEYOND_LIMIT TTFT p50 * ms [[]* ms, * ms] · limit at most 1 ms*", "*4 metrics OK: *"])
    result.stdout.fnmatch_lines(["*3 engine starts*"])


def test_a_recording_that_breaks_a_limit_records_nothing(project: Project, workers: list[str]) -> None:
    marked(project, BROKEN)
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BEYOND_LIMIT TTFT p50 *"])
    assert project.files() == {}
    marked(project, KEPT)
    project.record(*workers)


def test_without_a_baseline_a_kept_limit_is_no_excuse_and_a_broken_one_is_told(
    project: Project, workers: list[str]
) -> None:
    marked(project, KEPT)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NO_BASELINE  test_chat: *", "OK output throughput *", "OK TTFT p50 *"])
    marked(project, BROKEN)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BEYOND_LIMIT TTFT p50 *", "also NO_BASELINE"])


def test_limits_alone_need_no_baseline_and_record_none(project: Project, workers: list[str]) -> None:
    marked(project, KEPT + ", gate='limits'")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert "no baseline" not in result.stdout.str()
    assert "within its limits" in result.stdout.str()
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(passed=1)
    assert project.files() == {}
    marked(project, BROKEN + ", gate='limits'")
    project.run("--vllmperf", *workers).assert_outcomes(failed=1)


@pytest.mark.parametrize("option", ["--vllmperf-update", "--vllmperf-update-new", "--vllmperf-append"])
def test_a_run_that_records_says_of_limits_alone_that_nothing_is(
    project: Project, workers: list[str], option: str
) -> None:
    marked(project, KEPT + ", gate='limits'")
    reports = ("--vllmperf-report=run.md", "--vllmperf-report=run.html", "--vllmperf-json=run.json")
    result = project.run(option, *reports, *workers)
    result.assert_outcomes(passed=1)
    told = "test_chat: nothing is recorded, as its gate is 'limits' alone: it is judged without a baseline"
    (test,) = load(project.root / "run.json").tests
    assert test.checks[0].notes == (told,)
    assert " ".join(result.stdout.str().split()).count(told) == 1
    assert told in (project.root / "run.md").read_text(encoding="utf-8")
    assert told in html.unescape((project.root / "run.html").read_text(encoding="utf-8"))
    assert project.files() == {}


def test_nothing_is_said_of_it_where_the_run_or_the_gate_differs(project: Project, workers: list[str]) -> None:
    marked(project, KEPT + ", gate='limits'")
    assert "nothing is recorded" not in project.run("--vllmperf", *workers).stdout.str()
    marked(project, KEPT + ", gate='limits clock'")
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(passed=1)
    assert "nothing is recorded" not in result.stdout.str()
    assert project.files() != {}


def test_limits_alone_without_a_limit_judge_nothing_and_are_refused(project: Project, workers: list[str]) -> None:
    marked(project, "gate='limits'")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the gate names 'limits', and the test has none; add limits=*"])


def test_ini_and_option_and_the_nearer_one_of_a_metric_counts(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    project.ini("vllmperf_limits = ttft.p50=0.001")
    project.run("--vllmperf", *workers).assert_outcomes(failed=1)
    project.run("--vllmperf", "--vllmperf-limits=ttft.p50=0.5", *workers).assert_outcomes(passed=1)
    marked(project, "limits={'ttft.p50': 'off'}")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert "within its limits" not in result.stdout.str()


def test_a_limit_of_a_call_comes_over_the_markers(project: Project) -> None:
    project.perf_tests(
        marks=["@pytest.mark.vllmperf(limits={'ttft.p50': 0.001})"],
        check="vllmperf.check(run, limits={'ttft.p50': 0.5})",
    )
    project.record()
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_metric_that_was_not_measured_keeps_no_limit(project: Project, workers: list[str]) -> None:
    marked(project, "limits={'goodput': 0.9}")
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID * not measured · limit at least 90 %*"])
    assert project.files() == {}


def test_a_limit_that_the_level_is_at_is_noisy_and_warned_of(project: Project, workers: list[str]) -> None:
    marked(project, KEPT)
    project.record()
    now = project.engine()["samples"]["ttft.p50"][0]
    marked(project, f"limits={{'ttft.p50': {now}}}")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, warnings=1)
    told = " ".join(result.stdout.str().split())
    assert "cannot be told from its limit, at most " in told
    project.run("--vllmperf", "--vllmperf-noisy=fail", *workers).assert_outcomes(failed=1)


def test_status_of_limits_is_in_junit(project: Project) -> None:
    marked(project, KEPT)
    project.record()
    project.run("--vllmperf", "--junitxml=out.xml")
    assert '<property name="vllmperf.ttft.p50.limit" value="OK"' in (project.root / "out.xml").read_text()


def test_limits_are_in_the_runs_file(project: Project, workers: list[str]) -> None:
    marked(project, KEPT)
    project.record()
    project.run("--vllmperf", "--vllmperf-json=run.json", *workers).assert_outcomes(passed=1)
    (test,) = load(project.root / "run.json").tests
    assert [(one.metric, one.limit, one.status) for one in test.checks[0].limits] == [
        ("output_throughput", 1.0, "OK"),
        ("ttft.p50", 0.5, "OK"),
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("limits={'ttft.p9': 0.5}", "limits: no metric has the name 'ttft.p9'; did you mean 'ttft.p90'?"),
        ("limits={'ttft.p50': -1}", "limits of ttft.p50: -1 is not a number of at least 0"),
        ("limits={'ttft.p50': float('nan')}", "limits of ttft.p50: nan is not a number of at least 0"),
        ("limits={'ttft.p50': True}", "limits of ttft.p50: True is not a number of at least 0"),
        ("limits={'ttft.p50': 'fast'}", "limits of ttft.p50: 'fast' is not a number of at least 0"),
        ("limits={'goodput': 95}", "limits: goodput is a share: its limit must be at most 1, not 95"),
        ("limits={}", "limits: names no limit"),
        ("limits=0.5", "limits: 0.5 is no mapping of metrics, such as"),
        ("limits='ttft.p50'", "limits: 'ttft.p50' is no limit; write ttft.p99=0.5"),
        ("limits='ttft.p50=1 ttft.p50=2'", "limits: gives ttft.p50 two limits"),
    ],
)
def test_limits_that_are_not_valid(project: Project, words: str, told: str) -> None:
    marked(project, words)
    result = project.run("--vllmperf")
    assert result.ret != pytest.ExitCode.OK
    assert told in " ".join(result.stderr.str().split())


def test_an_option_that_is_not_valid_is_a_usage_error(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", "--vllmperf-limits=nope=1", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--vllmperf-limits: no metric has the name 'nope'*"])
