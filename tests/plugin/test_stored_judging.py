"""The gate and margins of a check are stored with it: the command's verdict is that of pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_vllmperf import cli, load

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

EXACT = ["engine_steps", "preemptions", "prefix_cache_hit_tokens", "weight_bytes", "kv_bytes_per_token"]
CLOCK = ["output_throughput", "ttft.p50", "tpot.p50", "e2e.p50"]
SLOWER = {"step_seconds": 0.0125}


def check(**given: object) -> str:
    return f"vllmperf.check(run, {', '.join(f'{name}={value!r}' for name, value in given.items())})"


def gate(project: Project, how: str, **engine: Any) -> str:
    """The status by pytest of a changed engine, which is recorded into another folder too."""
    project.perf_tests(check=how, **engine)
    result = project.run("--vllmperf")
    project.record("--vllmperf-baselines", "later")
    (row,) = (line.split() for line in result.outlines if line.startswith("test_chat  "))
    assert (result.ret == pytest.ExitCode.OK) == (row[1] != "REGRESSED")
    return row[1]


def command(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The status by `vllmperf check`."""
    capsys.readouterr()
    later = project.root / "later" / "simulated" / "test_chat.json"
    cli.main(["check", str(project.baseline()), str(later), *arguments])
    return capsys.readouterr().out.splitlines()[0].removeprefix("test_chat: ")


@pytest.mark.parametrize(
    ("how", "engine", "status", "by_default"),
    [
        (check(gate="exact", margin=0.2), SLOWER, "OK", "REGRESSED"),
        (check(gate="exact", margin=0.2), {"max_num_seqs": 3}, "REGRESSED", "REGRESSED"),
        (check(gate="clock", margin=0.5), SLOWER, "OK", "REGRESSED"),
        (check(margin=dict.fromkeys(CLOCK, 0.5)), SLOWER, "OK", "REGRESSED"),
        (check(gate="ttft.p50", margin={"ttft.p50": 0.01}), SLOWER, "REGRESSED", "REGRESSED"),
        (check(gate="preemptions"), {"max_num_seqs": 3}, "OK", "REGRESSED"),
    ],
)
def test_pytest_and_the_command_agree(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    how: str,
    engine: dict[str, Any],
    status: str,
    by_default: str,
) -> None:
    project.perf_tests(check=how, max_num_seqs=4)
    project.record()
    assert gate(project, how, **{"max_num_seqs": 4, **engine}) == status
    assert command(project, capsys) == status
    assert command(project, capsys, "--gate", "auto", "--margin", "0.05") == by_default


def test_what_is_shown_is_what_decides(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.perf_tests(check=check(gate=["ttft.p50", "exact"], margin=0.2))
    project.record()
    capsys.readouterr()
    assert cli.main(["baseline", "show", str(project.baseline())]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[4:6]] == [["TTFT", "p50"], ["engine", "steps"]]
    assert "output throughput" not in out
    assert " 20 % " in out.splitlines()[4]


@pytest.mark.parametrize("flag", ["--vllmperf-update", "--vllmperf-update-new"])
def test_a_recording_keeps_what_flags_marker_and_call_say(project: Project, flag: str, workers: list[str]) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='exact')"], check=check(margin={"tpot.p50": 0.1}))
    project.run(flag, "--vllmperf-margin=0.02", "--vllmperf-gate=clock", *workers).assert_outcomes(passed=1)
    assert project.stored()["test_chat"]["judging"] == {
        "gate": EXACT,
        "margin": 0.02,
        "margins": {"tpot.p50": 0.1},
        "limits": {},
    }


def test_an_appended_session_brings_its_own(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert project.stored()["test_chat"]["judging"] == {"gate": CLOCK, "margin": 0.05, "margins": {}, "limits": {}}
    project.perf_tests(check=check(gate="tpot.p50", margin=0.1))
    project.run("--vllmperf-append").assert_outcomes(passed=1)
    assert project.sessions() == [3, 3]
    assert project.stored()["test_chat"]["judging"] == {
        "gate": ["tpot.p50"],
        "margin": 0.1,
        "margins": {},
        "limits": {},
    }


def test_in_pytest_the_test_decides_and_not_what_is_stored(project: Project) -> None:
    project.perf_tests(check=check(gate="exact", margin=0.5))
    project.record()
    assert gate(project, check(gate="clock", margin=0.05), **SLOWER) == "REGRESSED"


def test_what_is_judged_less_strictly_than_it_was_recorded_is_told(project: Project, workers: list[str]) -> None:
    """A slowdown in between passes: by a wider margin, or for want of a limit."""
    project.perf_tests(check=check(limits={"ttft.p50": 0.5}))
    project.record()
    wider = check(margin={"tpot.p50": "60%", "output_throughput": "60%", "ttft.p50": "60%", "e2e.p50": "60%"})
    project.perf_tests(check=wider, **SLOWER)
    result = project.run("--vllmperf", "--vllmperf-json=run.json", *workers)
    result.assert_outcomes(passed=1)
    [(_, found)] = load(project.root / "run.json").checks
    assert list(found.notes) == [
        "a wider margin than its baseline was recorded with: 5 % -> 60 % (output throughput, TTFT p50, TPOT p50, "
        "E2E latency p50)",
        "a looser limit than its baseline was recorded with: TTFT p50 at most 500 ms -> no limit",
    ]
    assert all(note in " ".join(" ".join(result.outlines).split()) for note in found.notes)
    project.perf_tests(check=check(limits={"ttft.p50": 0.4}, margin="4%"))
    assert "than its baseline was recorded with" not in project.run("--vllmperf", *workers).stdout.str()
