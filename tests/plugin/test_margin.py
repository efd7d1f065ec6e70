"""The engine gets 20 to 25 % slower on every gated metric: below a margin of 40 %, above the default of 5 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

ALL = "{'output_throughput': 0.5, 'ttft.p50': 0.5, 'tpot.p50': 0.5, 'e2e.p50': 0.5}"


@pytest.fixture
def slower(project: Project) -> Project:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.0125)
    return project


def _mark(project: Project, *marks: str, check: str = "vllmperf.check(run)") -> None:
    project.perf_tests(marks=marks, check=check, step_seconds=0.0125)


def _passes(project: Project, *args: str) -> bool:
    result = project.run("--vllmperf", *args)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return result.ret == pytest.ExitCode.OK


def test_default(slower: Project) -> None:
    result = slower.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED *], margin 5 %*"])


def test_option(slower: Project, workers: list[str]) -> None:
    assert _passes(slower, "--vllmperf-margin", "0.4", *workers)
    assert not _passes(slower, "--vllmperf-margin", "0.05")


def test_zero_is_a_margin(slower: Project) -> None:
    assert not _passes(slower, "--vllmperf-margin=0")
    slower.perf_tests()
    result = slower.run("--vllmperf", "--vllmperf-margin=0")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  NOISY*"])


@pytest.mark.parametrize("words", ["0.01 output_throughput=0.4 ttft.p50=0.4 tpot.p50=0.4,e2e.p50=0.4", "0.4"])
def test_words_by_metric_in_option_and_ini(slower: Project, words: str, workers: list[str]) -> None:
    assert _passes(slower, f"--vllmperf-margin={words}", *workers)
    slower.ini(f"vllmperf_margin = {words}")
    assert _passes(slower)
    assert not _passes(slower, "--vllmperf-margin=0.4 tpot.p50=0.05")


def test_a_margin_by_name_leaves_the_general_one_as_it_is(slower: Project) -> None:
    result = slower.run("--vllmperf", "--vllmperf-margin=tpot.p50=0.4", "-v")
    result.assert_outcomes(failed=1)
    text = " ".join(line.strip() for line in result.outlines)
    assert "margin 40 %" in text.split("OK TPOT p50")[1][:120]
    assert "margin 5 %" in text.split("REGRESSED E2E latency p50")[1][:120]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("speed=0.1", ": no metric has the name 'speed'*"),
        ("tpot.p50=wide", " of tpot.p50: 'wide' is not a number of at least 0"),
        ("tpot.p50=5", ' of tpot.p50: 5 is 500 %; write 0.05 or "5%", or "500%" if you mean that'),
        (" ", ": gives no margin"),
    ],
)
def test_impossible_words(project: Project, value: str, words: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-margin={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-margin{words}"])


def test_ini(slower: Project) -> None:
    slower.ini("vllmperf_margin = 0.4")
    assert _passes(slower)


def test_option_over_ini(slower: Project) -> None:
    slower.ini("vllmperf_margin = 0.4")
    assert not _passes(slower, "--vllmperf-margin=0.01")


def test_marker_over_option(slower: Project) -> None:
    _mark(slower, "@pytest.mark.vllmperf(margin=0.4)")
    assert _passes(slower, "--vllmperf-margin=0.01")


@pytest.mark.parametrize(("margin", "passes"), [("0.4", True), ("0.01", False)])
def test_check_over_marker(slower: Project, margin: str, passes: bool) -> None:
    other = {"0.4": "0.01", "0.01": "0.4"}[margin]
    _mark(slower, f"@pytest.mark.vllmperf(margin={other})", check=f"vllmperf.check(run, margin={margin})")
    assert _passes(slower) is passes


def test_mapping_in_check(slower: Project) -> None:
    _mark(slower, check=f"vllmperf.check(run, margin={ALL})")
    assert _passes(slower)


def test_mapping_in_marker(slower: Project) -> None:
    _mark(slower, f"@pytest.mark.vllmperf(margin={ALL})")
    assert _passes(slower)


def test_mapping_leaves_other_metrics_alone(slower: Project) -> None:
    _mark(slower, check="vllmperf.check(run, margin={'output_throughput': 0.5})")
    result = slower.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED TTFT p50 *margin 5 %*", "1 metric OK: output throughput"])


def test_mappings_of_marker_and_check_add_up(slower: Project) -> None:
    marker = "@pytest.mark.vllmperf(margin={'output_throughput': 0.5, 'ttft.p50': 0.5, 'tpot.p50': 0.001})"
    _mark(slower, marker, check="vllmperf.check(run, margin={'tpot.p50': 0.5, 'e2e.p50': 0.5})")
    assert _passes(slower)


def test_exact_metrics_have_no_margin_unless_by_name(project: Project) -> None:
    gate = "@pytest.mark.vllmperf(gate='engine_steps')"
    project.perf_tests(marks=[gate], max_num_seqs=4)
    project.record()
    project.perf_tests(marks=[gate], max_num_seqs=3)  # the fourth request waits: more steps
    assert not _passes(project, "--vllmperf-margin=500%")
    project.perf_tests(marks=[gate], max_num_seqs=3, check="vllmperf.check(run, margin={'engine_steps': '500%'})")
    assert _passes(project)


@pytest.mark.parametrize("value", ["-0.4", "wide", "nan", "inf"])
def test_impossible_option(project: Project, value: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-margin={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --vllmperf-margin: '{value}' is not a number of at least 0"])


@pytest.mark.parametrize("value", ["5", "1.5", "40"])
def test_a_number_that_is_more_likely_per_cent_is_refused(project: Project, value: str) -> None:
    project.perf_tests()
    project.ini(f"vllmperf_margin = {value}")
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    number = float(value)
    words = (
        f'{value} is {number * 100:g} %; write {number / 100:g} or "{value}%", or "{number * 100:g}%" if you mean that'
    )
    result.stderr.fnmatch_lines([f"ERROR: ini setting vllmperf_margin: {words}"])


@pytest.mark.parametrize("words", ["40%", "40 %", "1% output_throughput=40% ttft.p50=0.4 tpot.p50=40%,e2e.p50=500 %"])
def test_per_cent_in_option_and_ini(slower: Project, words: str) -> None:
    assert _passes(slower, f"--vllmperf-margin={words}")
    assert not _passes(slower, "--vllmperf-margin=1%")
    slower.ini(f"vllmperf_margin = {words}")
    assert _passes(slower)


def test_per_cent_in_marker_and_check(slower: Project) -> None:
    _mark(slower, "@pytest.mark.vllmperf(margin='40%')")
    assert _passes(slower)
    _mark(slower, check="vllmperf.check(run, margin='40%')")
    assert _passes(slower)
    by_metric = ALL.replace("0.5", "'50%'")
    _mark(slower, check=f"vllmperf.check(run, margin={by_metric})")
    assert _passes(slower)


@pytest.mark.parametrize(
    ("margin", "words"),
    [
        ("-1", ["margin", "-1"]),
        ("'wide'", ["margin", "'wide'"]),
        ("{'tttft.p50': 0.1}", ["margin", "'tttft.p50'; did you mean 'ttft.p50'?"]),
        ("{'ttft.p50': -1}", ["ttft.p50", "-1"]),
        ("{'clock': 0.1}", ["margin", "'clock'"]),
        ("True", ["margin", "True"]),
        ("5", ["margin", '5 is 500 %; write 0.05 or "5%"']),
        ("{'ttft.p50': 5}", ["margin of ttft.p50", '5 is 500 %; write 0.05 or "5%"']),
    ],
)
def test_impossible_marker_and_call(project: Project, margin: str, words: Sequence[str]) -> None:
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(margin={margin})"])
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_chat.py:6: test_chat.py::test_chat: @pytest.mark.vllmperf: *"])
    assert all(word in result.stderr.str() for word in words)

    project.perf_tests(check=f"vllmperf.check(run, margin={margin})")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*options.py*")
    assert project.files() == {}
