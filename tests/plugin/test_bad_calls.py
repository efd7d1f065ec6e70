"""Calls with the wrong things are refused in one line before an engine starts, and `check` returns a verdict always."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("vllmperf.measure(8)", "measure() takes a Workload, not 8; make one with Workload.synthetic(...)"),
        ("vllmperf.check(WORK)", "check() takes the result of measure(), as in "
        "vllmperf.check(vllmperf.measure(workload)), not Work*"),
        ("vllmperf.measure(WORK, engine='vllmperf:tiny')",
         "measure() takes engines made by vllmperf.engine(...), not 'vllmperf:tiny'"),
        ("vllmperf.compare('a', 'b', WORK)", "compare() takes engines made by vllmperf.engine(...), not 'a'"),
        ("vllmperf.compare(vllmperf.engine('a'), vllmperf.engine('b'), 8)", "compare() takes a Workload, not 8;*"),
    ],
)  # fmt: skip
def test_refused_before_an_engine_starts(
    project: Project, starts: list[str], call: str, line: str, workers: list[str]
) -> None:
    project.module(f'@pytest.mark.vllm("sim", backend="simulated")\ndef test_chat(vllmperf):\n    {call}\n')
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line, "test_chat.py:8: SpecError"])
    assert "Traceback" not in result.stdout.str()
    assert starts == []


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("vllmperf.check(run, name=1)", "*check name 1 is not valid: it must be a text, and must not be empty *"),
        ("vllmperf.check(run, name=['a'])", "*check name [[]'a'] is not valid: it must be a text, *"),
        ("vllmperf.compare(vllmperf.engine('a'), vllmperf.engine('b'), WORK, way=['sleep'])",
         "way=[[]'sleep'] is not valid; choose one of *"),
        ("vllmperf.assert_same_chat_template(None, [])",
         "assert_same_chat_template() takes the path or name of a model, not None"),
        ("run.value(None)", "no metric has the name 'None'*"),
        ("run.samples(['ttft.p50'])", "no metric has the name*"),
    ],
)  # fmt: skip
def test_what_is_of_another_type_is_refused_in_a_line(project: Project, call: str, line: str) -> None:
    project.perf_tests(check=call)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line, "test_chat.py:9: *Error"])
    assert "pytest_vllmperf" not in result.stdout.str().partition("FAILURES")[2]


def test_check_returns_a_verdict_always(project: Project) -> None:
    project.perf_tests(check="print('said', vllmperf.check(run).status)")
    recorded = project.run("--vllmperf-update", "-s")
    recorded.stdout.fnmatch_lines(["*said RECORDED*"])
    project.perf_tests(check="assert vllmperf.check(run).status == 'OK'")
    project.run("--vllmperf").assert_outcomes(passed=1)
