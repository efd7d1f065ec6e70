"""`--vllmperf-profile-name`: machines of equal hardware share one baseline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

NAMED = "--vllmperf-profile-name=h100-lab"


def stored(project: Project, profile: str = "h100-lab") -> dict[str, Any]:
    text = (project.root / "baselines" / profile / "test_chat.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)["tests"]["test_chat"]
    return found


def on(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Run on another machine from here on."""
    monkeypatch.setattr("socket.gethostname", lambda: host)


def elsewhere(project: Project, **hard: str) -> None:
    """Make the stored session one of other hardware."""
    path = project.root / "baselines" / "h100-lab" / "test_chat.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for session in content["tests"]["test_chat"]["sessions"]:
        session["environment"]["hard"] |= hard
    path.write_text(json.dumps(content), encoding="utf-8")


def test_baselines_lie_under_the_name(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record(NAMED, *workers)
    assert set(project.files()) == {"h100-lab/test_chat.json"}
    assert stored(project)["sessions"][0]["environment"]["soft"]["profile name"] == "h100-lab"
    project.run("--vllmperf", NAMED, *workers).assert_outcomes(passed=1)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    told = " ".join(result.stdout.str().split())
    assert "NO_BASELINE test_chat: nothing is recorded for simulated, only for h100-lab. Record it with:" in told
    project.ini("vllmperf_profile_name = h100-lab")
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    project.run("--vllmperf", "--vllmperf-profile-name=off", *workers).assert_outcomes(failed=1)


def test_only_profiles_that_hold_this_check_are_named(project: Project) -> None:
    project.perf_tests("test_chat", "test_other")
    project.record(NAMED, "-k", "test_other")
    result = project.run("--vllmperf")
    told = " ".join(result.stdout.str().split())
    assert "NO_BASELINE test_chat: nothing is recorded for simulated. Record it with:" in told
    assert "NO_BASELINE test_other: nothing is recorded for simulated, only for h100-lab. Record it with:" in told


def test_a_missing_baseline_names_the_profile_and_the_whole_command(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", NAMED)
    result.stdout.fnmatch_lines(["NO_BASELINE  test_chat: nothing is recorded for h100-lab. Record it with:"])
    result.stdout.fnmatch_lines(["    pytest * --vllmperf-profile-name h100-lab *"])


def test_sessions_say_which_machine_they_come_from(
    project: Project, monkeypatch: pytest.MonkeyPatch, workers: list[str]
) -> None:
    project.perf_tests()
    if workers:
        monkeypatch.setenv("VLLMPERF_MACHINE", "Runner 1")
    on(monkeypatch, "secret-host-1.internal")
    project.record(NAMED, *workers)
    if workers:
        monkeypatch.setenv("VLLMPERF_MACHINE", "Runner 2")
    on(monkeypatch, "secret-host-2.internal")
    result = project.run("--vllmperf-append", NAMED, *workers)
    result.assert_outcomes(passed=1)
    machines = [one["environment"]["soft"]["machine"] for one in stored(project)["sessions"]]
    assert (len(set(machines)), len(machines)) == (2, 2)
    assert machines == ["runner-1", "runner-2"] if workers else all(len(one) == 8 for one in machines)
    assert not any(b"secret-host" in content for content in project.files().values())


def test_a_machine_without_a_session_of_its_own_is_told_so_where_it_fails(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.perf_tests()
    on(monkeypatch, "one")
    project.record(NAMED)
    project.perf_tests(step_seconds=0.02)
    result = project.run("--vllmperf", NAMED)
    result.stdout.no_fnmatch_line("*recorded on this machine*")
    on(monkeypatch, "two")
    result = project.run("--vllmperf", NAMED)
    result.assert_outcomes(failed=1)
    text = " ".join(result.stdout.str().split())
    assert "measured on another machine (" in text
    assert "no stored session was recorded on this machine (" in text
    assert "): a difference between machines counts as a change here" in text


@pytest.mark.parametrize("hard", [{"gpu": "NVIDIA H200"}, {"gpu memory": "80 GiB"}, {"gpu": "H100 MIG 1g.10gb"}])
def test_a_name_that_covers_two_kinds_of_hardware_compares_nothing(
    project: Project, workers: list[str], hard: dict[str, str]
) -> None:
    project.perf_tests()
    project.record(NAMED)
    elsewhere(project, **hard)
    before = project.files()
    result = project.run("--vllmperf", NAMED, *workers)
    result.assert_outcomes(failed=1)
    ((key, value),) = hard.items()
    result.stdout.fnmatch_lines(
        [
            f"NOT_COMPARABLE  test_chat: {key}: {value} -> none; the profile 'h100-lab' holds test_chat of other "
            "hardware; choose another --vllmperf-profile-name here, or 'off'"
        ]
    )
    result.stdout.no_fnmatch_line("*record it again*")
    for flag in ("--vllmperf-update", "--vllmperf-update-new", "--vllmperf-append"):
        assert project.run(flag, NAMED, *workers).ret == pytest.ExitCode.TESTS_FAILED
        assert project.files() == before


def test_recording_never_replaces_what_other_hardware_recorded(project: Project) -> None:
    project.perf_tests()
    project.record(NAMED)
    elsewhere(project, gpu="NVIDIA H200")
    result = project.run("--vllmperf-update", NAMED)
    text = " ".join(result.stdout.str().split())
    assert (
        "the profile 'h100-lab' holds test_chat of other hardware, which recording here would overwrite; choose "
        "another --vllmperf-profile-name here, or 'off'" in text
    )


def test_another_boundary_is_no_other_hardware(project: Project) -> None:
    """A test that moves behind a server is recorded again as ever."""
    project.perf_tests()
    project.record(NAMED)
    elsewhere(project, device="cuda, served")
    result = project.run("--vllmperf", NAMED)
    result.stdout.no_fnmatch_line("*of other hardware*")
    result.stdout.fnmatch_lines(["If this is intended, record it again with:"])
    project.run("--vllmperf-update", NAMED).assert_outcomes(passed=1)


def test_the_whole_profile_says_what_is_noise_for_the_command_too(project: Project) -> None:
    from pytest_vllmperf.cli import judging
    from pytest_vllmperf.storage.baselines import load

    project.perf_tests()
    project.record(NAMED)
    path = project.root / "baselines" / "h100-lab" / "test_chat.json"
    assert judging.profile_folder(path, load(path).tests.values()) == path.parent


HOSTILE = ["H100 Lab", "../../etc", "a/b", "..", ".", "", "x" * 65, "\x1b[31mred", "a\nb", "-lab", "lab-", "ä", "a|b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_none_is_refused_before_anything_runs(project: Project, name: str) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", f"--vllmperf-profile-name={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR:")]
    assert "cannot name a profile; use at most 64 lower-case letters, digits, dots and dashes" in line
    assert "\x1b" not in line
    assert not (project.root / "baselines").exists()


def test_a_name_that_is_nearly_one_is_proposed(project: Project) -> None:
    result = project.run("--vllmperf", "--vllmperf-profile-name=H100 Lab")
    assert "such as 'h100-lab'" in result.stderr.str()
