from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _faster_or_slower(project: Project, step_seconds: float) -> None:
    project.perf_tests(step_seconds=0.01)
    project.record()
    project.perf_tests(step_seconds=step_seconds)


def test_fails_the_test_itself_in_lines(project: Project, workers: list[str]) -> None:
    _faster_or_slower(project, 0.02)
    before = project.files()
    result = project.run("--vllmperf", "-rf", "-v", *workers)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(line.strip() for line in result.outlines)
    told = re.findall(
        r"REGRESSED [^,]+? (?:by request )?[+-][\d.]+ % \[[+-][\d.]+, [+-][\d.]+\], margin 5 % (?:· )?"
        r"[\d.,]+ ?\S* -> [\d.,]+ \S+ (?:· )?3 engine starts x \d+ (?:iterations|requests) against 3 in 1 session "
        r"(?:· )?99 % CI (?:· )?noise: [\d.]+ % between sessions, [\d.]+ % between engine starts",
        text,
    )
    assert len(told) == 4
    result.stdout.fnmatch_lines(["REGRESSED TPOT p50 +100.0 % [[]+*, +*[]], margin 5 % · 10 -> 20 ms"])
    result.stdout.fnmatch_lines(["test_chat  REGRESSED*"])
    result.stdout.fnmatch_lines(["FAILED test_chat.py::test_chat - *REGRESSED *"])
    assert project.files() == before


def test_without_a_traceback(project: Project) -> None:
    _faster_or_slower(project, 0.02)
    result = project.run("--vllmperf", "--tb=long", "--showlocals")
    text = result.stdout.str()
    for trace in ("Traceback", "def test_chat", "fixture.py", "vllmperf.check(run)", "pytest.fail", "run        ="):
        assert trace not in text


def test_what_changed_in_the_environment_is_told(project: Project) -> None:
    _faster_or_slower(project, 0.02)
    result = project.run("--vllmperf")
    result.stdout.fnmatch_lines(["changed since the baseline: engine argument step_seconds: 0.01 -> 0.02"])
    assert len([line for line in result.outlines if line.startswith("changed since")]) == 1


def test_metrics_that_held_are_told_behind_those_that_did_not(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(prefill_seconds_per_token=0.001)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    lines = [line for line in result.outlines if re.match(r" *REGRESSED |.* OK: ", line)]
    assert [line.strip().partition(" ")[0] for line in lines] == ["REGRESSED"] * 3 + ["1"]
    assert lines[3] == "1 metric OK: TPOT p50"


def test_an_improvement_passes_with_a_remark(project: Project) -> None:
    _faster_or_slower(project, 0.005)
    before = project.files()
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "test_chat  OK*",
            "test_chat: better than its baseline; record it again if this is intended",
            "  OK  TPOT p50 *10 -> 5 ms *-50.0 % [[]*",
        ]
    )
    assert project.files() == before


def test_a_slowdown_below_the_margin_passes(project: Project) -> None:
    _faster_or_slower(project, 0.0102)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  OK*"])
    result.stdout.no_fnmatch_line("*better than its baseline*")


def test_a_metric_that_the_baseline_lacks_is_never_a_pass(project: Project) -> None:
    project.module("""
WORK = Workload.synthetic(requests=4, input_tokens=8, output_tokens=1)

@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_one_token(vllmperf):
    vllmperf.check(vllmperf.measure(WORK), gate="tpot.p50")
""")
    for flag in ("--vllmperf-update", "--vllmperf"):
        result = project.run(flag)
        result.assert_outcomes(failed=1)
        line = "test_one_token: the gate cannot be judged: TPOT p50 was not measured on simulated.*"
        result.stdout.fnmatch_lines([line])


def test_verdict_is_handed_to_the_test(project: Project) -> None:
    project.perf_tests(check="verdict = vllmperf.check(run); assert verdict.status == 'RECORDED'")
    project.record()
    project.perf_tests(check="assert vllmperf.check(run).status.value == 'OK'")
    project.run("--vllmperf").assert_outcomes(passed=1)
