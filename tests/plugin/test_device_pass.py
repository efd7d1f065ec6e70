"""The device pass: how many iterations it has, and what becomes of GPU time where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import ProfileError
from pytest_vllmperf.records.kernels import RankUse
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

KERNELS = {"attention": (8, 0.01), "matmul": (16, 0.03)}
GPU: dict[str, Any] = {"gpu_kernels": KERNELS}


@pytest.fixture
def stable(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another interpreter with another vLLM."""
    return interpreter(tmp_path_factory.mktemp("stable") / "env")


def _passes(project: Project) -> int:
    return len(project.engine()["passes"].get("gpu_time", ()))


def _gate(project: Project) -> list[str]:
    gate: list[str] = project.stored()["test_chat"]["judging"]["gate"]
    return gate


def test_gpu_time_is_recorded_and_judged_by_default(project: Project, workers: list[str]) -> None:
    project.perf_tests(**GPU)
    project.record(*workers)
    assert _passes(project) == 3
    assert "gpu_time" in _gate(project)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    project.perf_tests(**{**GPU, "gpu_starts": (1.03,)})
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED GPU time +3.0 % *, margin 1 % · 40 -> 41.2 ms*"])


def test_call_over_marker_over_option_over_ini(project: Project) -> None:
    project.ini("vllmperf_device_pass = 2")
    project.perf_tests(**GPU)
    project.record()
    assert _passes(project) == 2
    project.record("--vllmperf-device-pass=4")
    assert _passes(project) == 4
    mark = "@pytest.mark.vllmperf(device_pass=5)"
    project.perf_tests(marks=[mark], **GPU)
    project.record("--vllmperf-device-pass=4")
    assert _passes(project) == 5
    project.perf_tests(marks=[mark], check="vllmperf.check(vllmperf.measure(WORK, device_pass=1))", **GPU)
    project.record("--vllmperf-device-pass=4")
    assert _passes(project) == 1


@pytest.mark.parametrize("value", ["'off'", "0", "False"])
def test_it_can_be_left_out_by_a_marker(project: Project, value: str) -> None:
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(device_pass={value})"], **GPU)
    result = project.run("--vllmperf-update")
    assert (_passes(project), "gpu_time" in _gate(project)) == (0, False)
    result.stdout.fnmatch_lines(["GPU time not measured: the device pass is off"])


@pytest.mark.parametrize("value", ["-1", "2.5", "on", ""])
def test_impossible(project: Project, value: str) -> None:
    project.perf_tests(**GPU)
    result = project.run("--vllmperf", f"--vllmperf-device-pass={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wanted = f"ERROR: --vllmperf-device-pass: '{value}' is not a whole number of at least 0, nor 'off'"
    result.stderr.fnmatch_lines([wanted])


def test_a_gated_gpu_time_that_is_turned_off_is_told_and_no_failure(project: Project, workers: list[str]) -> None:
    project.perf_tests(**GPU)
    project.record()
    project.perf_tests(**{**GPU, "gpu_starts": (1.5,)})
    result = project.run("--vllmperf", "--vllmperf-device-pass=off", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["GPU time is not judged: the device pass is off"])


def test_a_gated_gpu_time_that_cannot_be_measured_any_more_fails(project: Project, workers: list[str]) -> None:
    project.perf_tests(**GPU)
    project.record()
    project.perf_tests(fail="unprofiled", **GPU)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*baseline holds GPU time, which this run did not measure: scripted refusal. *"])


def test_a_session_without_a_pass_does_not_let_the_next_run_lose_gpu_time(project: Project, workers: list[str]) -> None:
    """The gate of the newest session has no GPU time; the sessions before it have."""
    project.perf_tests(**GPU)
    project.record()
    project.run("--vllmperf-append", "--vllmperf-device-pass=off", *workers).assert_outcomes(passed=1)
    assert "gpu_time" not in _gate(project)
    project.perf_tests(fail="unprofiled", **GPU)
    project.run("--vllmperf", *workers).assert_outcomes(failed=1)
    project.perf_tests(**{**GPU, "gpu_starts": (1.03,)})
    result = project.run("--vllmperf", *workers)
    result.stdout.fnmatch_lines(["REGRESSED GPU time *, margin 1 % · 40 -> 41.2 ms*"])


def test_a_baseline_that_has_lost_its_gpu_time_is_invalid(project: Project) -> None:
    project.perf_tests(**GPU)
    project.record()
    baseline = project.baseline()
    content = json.loads(baseline.read_text(encoding="utf-8"))
    for session in content["tests"]["test_chat"]["sessions"]:
        for engine in session["engines"]:
            engine["passes"] = {}
    baseline.write_text(json.dumps(content), encoding="utf-8")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID GPU time not measured -> 40 ms*"])


def test_what_is_never_measured_is_told_once_where_it_is_recorded(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_chat", "test_other", fail="unprofiled", **GPU)
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("GPU time not measured: scripted refusal") == 1
    assert "gpu_time" not in _gate(project)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*GPU time*")


def test_a_baseline_without_gpu_time_is_told_and_gets_it_by_appending(project: Project, workers: list[str]) -> None:
    project.perf_tests(**GPU)
    project.record("--vllmperf-device-pass=off")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["GPU time is not judged: its baseline has no value for it; add sessions*"])
    project.run("--vllmperf-append", *workers).assert_outcomes(passed=1)
    project.perf_tests(**{**GPU, "gpu_starts": (1.03,)})
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED GPU time *, margin 1 % · 40 -> 41.2 ms*"])


def test_an_engine_that_dies_in_the_pass_keeps_its_iterations(project: Project, workers: list[str]) -> None:
    project.perf_tests(fail="profile", **GPU)
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(passed=1)
    assert len(project.engine()["samples"]["output_throughput"]) == 10
    result.stdout.fnmatch_lines(["GPU time not measured: the engine failed in the device pass: *"])


@pytest.mark.parametrize(
    ("engine", "flags", "why"),
    [
        ({"fail": "unprofiled", **GPU}, (), "scripted refusal"),
        (GPU, ("--vllmperf-device-pass=off",), "the device pass is off"),
        ({}, (), "the simulated engine has no GPU"),
    ],
)
@pytest.mark.parametrize("gate", ["device", "gpu_time"])
def test_a_gate_on_what_cannot_be_measured_is_refused(
    project: Project, gate: str, engine: dict[str, Any], flags: tuple[str, ...], why: str
) -> None:
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(gate={gate!r})"], **engine)
    result = project.run("--vllmperf-update", *flags)
    result.assert_outcomes(failed=1)
    sets = "; measured sets: exact, clock, cpu, vram" if gate == "device" else ""
    refused = f"GPU time was not measured on simulated: {why}. Leave {gate} out of the gate{sets}"
    result.stdout.fnmatch_lines([f"test_chat: the gate cannot be judged: {refused}"])
    assert project.files() == {}


def test_a_margin_for_all_leaves_that_of_gpu_time_and_one_by_name_does_not(
    project: Project, workers: list[str]
) -> None:
    project.perf_tests(**GPU)
    project.record()
    project.perf_tests(**{**GPU, "gpu_starts": (1.03,)})
    project.run("--vllmperf", "--vllmperf-margin=20%", *workers).assert_outcomes(failed=1)
    project.run("--vllmperf", "--vllmperf-margin=20% gpu_time=5%", *workers).assert_outcomes(passed=1)


def test_gate_device_is_gpu_time_alone(project: Project) -> None:
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='device')"], **GPU)
    project.record()
    assert _gate(project) == ["gpu_time"]
    project.perf_tests(marks=["@pytest.mark.vllmperf(gate='device')"], **{**GPU, "starts": (3.0,)})
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_gpu_that_waits_for_its_host_is_told_once_for_a_check(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_chat", **GPU)  # 40 ms of an iteration of some 53 ms
    result = project.run("--vllmperf-update", *workers)
    result.stdout.no_fnmatch_line("*host-bound*")
    project.perf_tests("test_chat", gpu_kernels={"matmul": (1, 0.02)})
    result = project.run("--vllmperf-update", *workers)
    result.stdout.fnmatch_lines(["*host-bound: the GPU idled 6? % of the iteration*"])
    assert result.stdout.str().count("host-bound") == 1


def _only_the_first_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine but the first loses what its GPU did; in this process, so that no other test has it."""
    stop, seen = SimulatedEngine.profile_stop, list[SimulatedEngine]()

    def profile_stop(engine: SimulatedEngine) -> tuple[RankUse, ...]:
        seen.append(engine)
        if engine is not seen[0]:
            raise ProfileError("its buffers were full")
        return stop(engine)

    monkeypatch.setattr(SimulatedEngine, "profile_stop", profile_stop)


def test_engines_that_lost_it_are_told_of_a_check_and_make_no_baseline(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.perf_tests(**GPU)
    project.record()
    project.perf_tests(**{**GPU, "gpu_starts": (1.03,)})
    lost = "GPU time was not measured on 5 of 6 engine starts: its buffers were full"
    with monkeypatch.context() as patch:
        _only_the_first_is_recorded(patch)
        result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED GPU time *", lost])
    with monkeypatch.context() as patch:
        _only_the_first_is_recorded(patch)
        result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"INVALID  test_chat: nothing was recorded: 1 engine start counts*; {lost}. To record*"]
    )


def test_in_turns_the_ratio_of_gpu_times_decides(project: Project, stable: str, workers: list[str]) -> None:
    faster = {"gpu_kernels": {"attention": (8, 0.01), "matmul": (16, 0.0288)}}
    project.perf_tests(**GPU, gpu_noise=0.0005, elsewhere=faster)
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED GPU time +3.? % * 38.?? -> 4?.?? ms*"])
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", "--vllmperf-device-pass=off", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["GPU time is not judged: the device pass is off"])


def test_a_reference_without_gpu_time_is_told(project: Project, stable: str, workers: list[str]) -> None:
    project.perf_tests(**GPU, elsewhere={"fail": "unprofiled"})
    result = project.run("--vllmperf", f"--vllmperf-against={stable}", *workers)
    result.assert_outcomes(passed=1)
    told = " ".join(" ".join(result.outlines).split())
    assert "GPU time is not judged: it was not measured on the reference: scripted refusal" in told


def test_gpu_time_that_the_reference_alone_has_fails(project: Project, stable: str) -> None:
    project.perf_tests(fail="unprofiled", **GPU, elsewhere={"fail": ""})
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*GPU time was measured on the reference only: scripted refusal"])


def test_a_comparison_can_leave_it_out(project: Project) -> None:
    body = """
def test_chat(vllmperf):
    new, old = [vllmperf.engine("sim", backend="simulated", gpu_kernels={"matmul": (1, seconds)})
                for seconds in (0.01, 0.012)]
    compared = vllmperf.compare(new, old, WORK, way="restart", device_pass=%s)
    compared.assert_speedup(1.1, metric="gpu_time")
"""
    project.module(body % 3)
    project.run("--vllmperf").assert_outcomes(passed=1)
    project.module(body % "'off'")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*GPU time*"])
