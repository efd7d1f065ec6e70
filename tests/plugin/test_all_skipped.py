"""An armed run in which every performance test was skipped measured nothing, and must not be green."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SKIP = ["@pytest.mark.skip(reason='not today')"]
OK, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED


def _said(result: pytest.RunResult) -> str | None:
    """What the run says of having measured nothing, its folded lines joined; None where it says nothing of it."""
    text = "\n".join(result.outlines).replace("\n    ", " ")
    found = [line for line in text.splitlines() if "nothing was measured" in line]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-update", "--vllmperf-update-new", "--vllmperf-append"])
def test_it_fails_and_says_so(project: Project, workers: list[str], flag: str) -> None:
    project.perf_tests("test_a", "test_b", marks=SKIP)
    project.perf_tests("test_c", module="test_gpu.py", marks=["@pytest.mark.gpu('no such GPU')"])
    project.write("test_plain.py", "def test_plain(): pass\n")
    result = project.run(flag, *workers)
    result.assert_outcomes(passed=1, skipped=3)
    assert result.ret == FAILED
    assert _said(result) == (
        "ERROR: nothing was measured: all 3 performance tests were skipped (-rs shows why); "
        "a gate that judged nothing must not pass"
    )


@pytest.mark.parametrize(
    "body",
    [
        "@pytest.fixture\ndef late():\n    pytest.skip('no')\n\ndef test_chat(vllmperf, late): pass",
        "def test_chat(vllmperf):\n    pytest.skip('no')",
        "@pytest.mark.parametrize('n', [])\ndef test_chat(vllmperf, n): pass",
        "@pytest.mark.gpu('no such GPU')\ndef test_chat(request):\n    request.getfixturevalue('vllmperf')",
    ],
    ids=["setup", "call", "no-parameters", "asked-for-late"],
)
def test_however_it_was_skipped(project: Project, workers: list[str], body: str) -> None:
    project.module(body)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(skipped=1)
    assert result.ret == FAILED
    assert (_said(result) or "").startswith("ERROR: nothing was measured: the only performance test was skipped (")


def test_one_that_ran_is_enough(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", marks=SKIP)
    project.perf_tests("test_b", module="test_runs.py", check="assert run.ttft.p50 > 0")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, skipped=1)
    assert (result.ret, _said(result)) == (OK, None)


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [("assert False", {"failed": 1}), ("pytest.xfail('known')", {"xfailed": 1})],
)
def test_what_failed_was_not_skipped(
    project: Project, workers: list[str], ending: str, outcome: dict[str, int]
) -> None:
    project.perf_tests("test_a", marks=SKIP)
    project.perf_tests("test_b", module="test_runs.py", check=ending)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(skipped=1, **outcome)
    assert result.ret == FAILED
    assert ("ERROR: nothing was judged: no measurement was checked or compared" in result.stdout.str()) == (
        "xfailed" in outcome
    )
    assert "skipped (-rs" not in result.stdout.str()


def test_one_that_fails_in_its_teardown_after_a_skip(project: Project, workers: list[str]) -> None:
    project.module(
        "@pytest.fixture\ndef bad():\n    yield\n    assert False\n\n"
        "def test_chat(bad, vllmperf):\n    pytest.skip('no')"
    )
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(skipped=1, errors=1)
    assert (result.ret, _said(result)) == (FAILED, None)


def test_a_run_that_fails_anyway_says_it_too(project: Project, workers: list[str]) -> None:
    project.perf_tests(marks=SKIP)
    project.write("test_plain.py", "def test_plain(): assert False\n")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1, skipped=1)
    assert result.ret == FAILED
    assert _said(result)


@pytest.mark.parametrize("arguments", [["-k", "plain"], ["-m", "not vllm"], ["test_plain.py"]])
def test_a_run_that_selects_no_performance_test_fails_too(
    project: Project, workers: list[str], arguments: list[str]
) -> None:
    project.perf_tests(marks=SKIP)
    project.write("test_plain.py", "import pytest\n\n@pytest.mark.skip\ndef test_plain(): pass\n")
    result = project.run("--vllmperf", *arguments, *workers)
    assert result.parseoutcomes()["skipped"] == 1
    assert (result.ret, _said(result)) == (FAILED, None)
    result.stdout.fnmatch_lines(["ERROR: nothing was judged: no performance test was selected; *"])


def test_nothing_at_all_keeps_pytests_own_exit_code(project: Project, workers: list[str]) -> None:
    project.perf_tests(marks=SKIP)
    result = project.run("--vllmperf", "-k", "no_such_test", *workers)
    assert (result.ret, _said(result)) == (pytest.ExitCode.NO_TESTS_COLLECTED, None)


def test_unarmed_runs_are_left_alone(project: Project, workers: list[str]) -> None:
    project.perf_tests(marks=SKIP)
    result = project.run(*workers)
    result.assert_outcomes(skipped=1)
    assert (result.ret, _said(result)) == (OK, None)


def test_an_interrupted_run_keeps_its_exit_code(project: Project) -> None:
    project.perf_tests("test_a", marks=SKIP)
    project.module("def test_b(vllmperf):\n    raise KeyboardInterrupt\n", name="test_stops.py")
    result = project.run_apart("--vllmperf")
    assert (result.ret, _said(result)) == (pytest.ExitCode.INTERRUPTED, None)


def test_without_the_terminal_it_fails_too(project: Project) -> None:
    project.perf_tests(marks=SKIP)
    assert project.run("--vllmperf", "-p", "no:terminal").ret == FAILED
