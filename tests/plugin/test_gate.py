"""The prompt's work gets slower, decoding does not: TTFT, E2E and throughput change, TPOT and the counters do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def slower(project: Project) -> Project:
    project.perf_tests(prefill_seconds_per_token=0.0001)
    project.record()
    project.perf_tests(prefill_seconds_per_token=0.001)
    return project


def _passes(project: Project, *args: str) -> bool:
    result = project.run("--vllmperf", *args)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("gate", "passes"),
    [
        ("auto", False),
        ("clock", False),
        ("cpu", False),
        ("exact", True),
        ("tpot.p50", True),
        ("ttft.p50", False),
        ("exact,tpot.p50", True),
        ("exact tpot.p50", True),
        ("exact, ttft.p50", False),
    ],
)
def test_option(slower: Project, gate: str, passes: bool) -> None:
    assert _passes(slower, "--vllmperf-gate", gate) is passes


def test_xdist(slower: Project) -> None:
    assert _passes(slower, "--vllmperf-gate=exact", "-n", "2")


@pytest.mark.parametrize("value", ["exact tpot.p50", "exact, tpot.p50"])
def test_ini_and_option_over_it(slower: Project, value: str) -> None:
    slower.ini(f"vllmperf_gate = {value}")
    assert _passes(slower)
    assert not _passes(slower, "--vllmperf-gate=clock")


def test_a_list_in_pyproject(slower: Project) -> None:
    (slower.root / "pytest.ini").unlink()
    slower.write("pyproject.toml", '[tool.pytest.ini_options]\nvllmperf_gate = ["exact", "tpot.p50"]\n')
    assert _passes(slower, "-W", "error")


def test_marker_over_option(slower: Project) -> None:
    slower.perf_tests(marks=["@pytest.mark.vllmperf(gate='exact')"], prefill_seconds_per_token=0.001)
    assert _passes(slower, "--vllmperf-gate=clock")


@pytest.mark.parametrize(("gate", "passes"), [("'exact'", True), ("['exact', 'tpot.p50']", True), ("'clock'", False)])
def test_check_over_marker(slower: Project, gate: str, passes: bool) -> None:
    other = "clock" if passes else "exact"
    slower.perf_tests(
        marks=[f"@pytest.mark.vllmperf(gate={other!r})"],
        check=f"vllmperf.check(run, gate={gate})",
        prefill_seconds_per_token=0.001,
    )
    assert _passes(slower) is passes


def test_what_does_not_decide_is_told_beside_what_does(slower: Project) -> None:
    result = slower.run("--vllmperf", "--vllmperf-gate=ttft.p50")
    result.stdout.fnmatch_lines(["REGRESSED TTFT p50 *", "  not gated  output throughput*", "  not gated  TPOT p50 *"])


@pytest.mark.parametrize("value", ["speed", "clock speed", "TTFT"])
def test_unknown_word_in_an_option_or_ini(project: Project, value: str) -> None:
    project.perf_tests()
    wrong = value.split()[-1]
    result = project.run("--vllmperf", f"--vllmperf-gate={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = (
        f"ERROR: --vllmperf-gate: no metric or set has the name '{wrong}'*; sets: auto, *; metrics: see docs/metrics.md"
    )
    result.stderr.fnmatch_lines([said])
    project.ini(f"vllmperf_gate = {value}")
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini setting vllmperf_gate: no metric or set has the name '{wrong}'*"])


def test_unknown_word_in_a_marker(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate=['clock', 'exakt'])"])
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *test_chat: @pytest.mark.vllmperf: *no metric or set has the name 'exakt'*"])


def test_unknown_word_in_a_check(project: Project) -> None:
    project.perf_tests(check="vllmperf.check(run, gate='speed')")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gate: no metric has the name 'speed'; a custom metric has to be recorded*"])
    result.stdout.no_fnmatch_line("*table.py*")


def test_a_gate_of_nothing_never_passes(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert project.run("--vllmperf", "--vllmperf-gate=").ret != pytest.ExitCode.OK
