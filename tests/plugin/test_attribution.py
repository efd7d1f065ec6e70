"""Where the time of a regression went, on the GPU of the simulated engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vllmperf import cli

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

KERNELS = {"void flash_fwd<128>(int)": (1792, 0.01264), "nvjet_sm90_72x64": (14336, 0.014), "rms_norm": (34228, 0.004)}
"""Half of the time of an iteration, so that the simulated host is the other half."""

CHANGED = {**KERNELS, "void flash_fwd<128>(int)": (1792, 0.01383), "rope_kernel_v2": (3584, 0.00012)}
ALL = "--vllmperf-gate=clock device"


def recorded(project: Project, *arguments: str, **engine: Any) -> None:
    project.perf_tests(gpu_kernels=KERNELS, gpu_noise=0.0005)
    project.record(*arguments)
    project.perf_tests(**{"gpu_kernels": CHANGED, "gpu_noise": 0.0005, **engine})


def joined(result: pytest.RunResult) -> str:
    return " ".join(line.strip() for line in result.outlines)


def test_a_regression_of_gpu_time_names_its_kernels(project: Project, workers: list[str]) -> None:
    recorded(project, ALL)
    result = project.run("--vllmperf", ALL, *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "REGRESSED GPU time +4.* % [[]+*, +*[]], margin 1 % · 30.6* -> 31.9* ms*",
            "GPU time 30.6* -> 31.9* ms  +4.* % [[]+*, +*[]] · kernels 50,356 -> 53,940",
            "    * % of it in: flash_fwd<128> +1.* ms (+9.* %); new: rope_kernel_v2",
            "changed since the baseline:*",
            "* metrics OK: output throughput, *",
        ]
    )
    told = joined(result)
    assert "new: rope_kernel_v2 x 3,584 (+120 us)" in told
    assert told.count("kernels 50,356 -> 53,940") == 1


def test_junit_has_it_too(project: Project) -> None:
    recorded(project, ALL)
    project.run("--vllmperf", ALL, "--junitxml=junit.xml")
    assert "new: rope_kernel_v2 x 3,584" in " ".join((project.root / "junit.xml").read_text(encoding="utf-8").split())


def test_time_that_the_host_lost(project: Project) -> None:
    recorded(project, gpu_kernels=KERNELS, step_seconds=0.012)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    told = joined(result)
    assert "host: GPU time unchanged (" in told
    assert "the GPU idled 51 % of the iteration (42 % in the baseline): the time was lost on the CPU" in told
    assert "mean of a request: prefill 13.2 -> 15.2 ms · decode 40 -> 48 ms" in told
    assert "flash_fwd" not in told.partition("changed since")[0]


def test_a_baseline_without_a_pass_says_why(project: Project) -> None:
    project.perf_tests(gpu_kernels=KERNELS, fail="unprofiled")
    project.record("--vllmperf-gate=clock")
    project.perf_tests(gpu_kernels=KERNELS, step_seconds=0.02)
    result = project.run("--vllmperf", "--vllmperf-gate=clock")
    result.stdout.fnmatch_lines(["GPU time was not measured in the baseline: scripted refusal"])
    project.perf_tests(step_seconds=0.02)
    assert "GPU time was not measured" not in project.run("--vllmperf", "--vllmperf-gate=clock").stdout.str()


def test_another_number_of_kernels_is_told_of_a_check_that_passes(project: Project, workers: list[str]) -> None:
    recorded(project, ALL, gpu_kernels={**KERNELS, "memset": (12, 1e-6)})
    result = project.run("--vllmperf", ALL, *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_chat  OK*", "test_chat: kernels 50,356 -> 50,368"])
    project.perf_tests(gpu_kernels=KERNELS)
    assert "kernels 50," not in project.run("--vllmperf", ALL).stdout.str()


def test_the_command_line_tells_the_same(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(project, ALL)
    before = project.baseline()
    after = before.rename(before.with_name("before.json"))
    before, after = after, before
    project.record(ALL)
    capsys.readouterr()
    assert cli.main(["check", str(before), str(after)]) == 1
    lines = capsys.readouterr()[0].splitlines()
    assert max(map(len, lines)) <= 80
    told = " ".join(line.strip() for line in lines)
    assert "of it in: flash_fwd<128> +1.19 ms (+9.4 %); new: rope_kernel_v2 x 3,584 (+120 us)" in told
    cli.main(["check", str(before), str(after), "--json"])
    told_as_data = json.loads(capsys.readouterr()[0])["checks"]["test_chat"]["attribution"]
    assert [(one["name"], one["seen"]) for one in told_as_data["kernels"][:2]] == [
        ("flash_fwd<128>", "both"),
        ("rope_kernel_v2", "new"),
    ]
    assert cli.main(["kernels", str(before), str(after)]) == 0
    assert ["rope_kernel_v2", "3,584", "0.120", "+0.120", "new"] in [
        line.split() for line in capsys.readouterr()[0].splitlines()
    ]


def test_a_run_holds_its_kernels(project: Project) -> None:
    check = "assert [one.name for one in run.kernels] == ['nvjet_sm90_72x64', 'flash_fwd<128>', 'rms_norm']"
    project.perf_tests(gpu_kernels=KERNELS, check=check)
    project.run("--vllmperf").assert_outcomes(passed=1)
    project.perf_tests(check="run.gpu_time")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    assert "GPU time was not measured on sim" in joined(result)
    assert "the simulated engine has no GPU" in joined(result)


@pytest.mark.parametrize(("ratio", "passed"), [(1.03, True), (1.2, False)])
def test_a_claim_about_gpu_time(project: Project, ratio: float, passed: bool) -> None:
    project.module(f"""
KERNELS = {KERNELS!r}

def test_faster(vllmperf):
    a = vllmperf.engine("fast", backend="simulated", gpu_kernels=KERNELS, gpu_noise=0.0005)
    b = vllmperf.engine("slow", backend="simulated", gpu_kernels={CHANGED!r}, gpu_noise=0.0005)
    compared = vllmperf.compare(a, b, WORK)
    print(compared.kernels())
    compared.assert_speedup({ratio}, metric="gpu_time")
""")
    result = project.run("--vllmperf", "-s")
    result.assert_outcomes(passed=passed, failed=not passed)
    result.stdout.fnmatch_lines(["*before: slow *", "rope_kernel_v2 * gone"])
    if not passed:
        result.stdout.fnmatch_lines(["REFUTED GPU time 30.6* ms against 31.9* ms: 1.04x *"])
