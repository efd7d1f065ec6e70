"""`@pytest.mark.gpu`: what fits runs, what does not is skipped with the reason, a broken driver is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pynvml
import pytest

from pytest_vllmperf.errors import NoGpuError
from pytest_vllmperf.gpu import GpuDevice

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

H200 = GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1")


def _machine(monkeypatch: pytest.MonkeyPatch, *devices: GpuDevice) -> None:
    monkeypatch.setattr("pytest_vllmperf.gpu.devices", lambda: devices)


def _reason(project: Project, mark: str) -> str | None:
    """Why a test with this mark is skipped; None when it runs."""
    project.perf_tests(marks=[mark], check="pass")
    result = project.run("--vllmperf", "-rs")
    outcomes = result.parseoutcomes()
    if outcomes == {"passed": 1}:
        return None
    assert outcomes == {"skipped": 1}
    (line,) = [line for line in result.outlines if line.startswith("SKIPPED")]
    return line.split(": ", 1)[1]


def test_no_gpu(project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    project.perf_tests(marks=['@pytest.mark.gpu(min_vram="16GiB")'])
    result = project.run("--vllmperf", "-rs", *workers)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * needs a GPU with 16 GiB, found no GPU"])


@pytest.mark.parametrize(
    "arguments",
    ["", "'H200'", "'h200'", "'RTX 4090|H200'", "min_vram='100GiB'", "min_compute='9.0'", "'H', min_vram=1, count=1"],
)
def test_fits(project: Project, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    _machine(monkeypatch, H200)
    assert _reason(project, f"@pytest.mark.gpu({arguments})") is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("'RTX 4090'", "needs RTX 4090, found NVIDIA H200"),
        ("min_vram='150GiB'", "needs a GPU with 150 GiB, found NVIDIA H200 with 141 GiB"),
        ("min_compute='10.0'", "needs a GPU of compute capability 10.0, found NVIDIA H200 of 9.0"),
        ("count=2", "needs 2 x GPU, found NVIDIA H200"),
    ],
)
def test_does_not_fit(project: Project, monkeypatch: pytest.MonkeyPatch, arguments: str, reason: str) -> None:
    _machine(monkeypatch, H200)
    assert _reason(project, f"@pytest.mark.gpu({arguments})") == reason


@pytest.mark.parametrize("shown", ["", "7", "GPU-2"])
def test_what_the_environment_hides_is_told(project: Project, monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    monkeypatch.setattr("pytest_vllmperf.gpu.device.installed", lambda: (H200,))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    told = f"needs H200, found no GPU; CUDA_VISIBLE_DEVICES={shown!r} hides 1 of this machine"
    assert _reason(project, "@pytest.mark.gpu('H200')") == told


def test_a_driver_that_fails_is_an_error_and_no_skip(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NoGpuError("NVML cannot read the GPUs: GPU is lost")

    monkeypatch.setattr("pytest_vllmperf.gpu.devices", fail)
    project.perf_tests(marks=["@pytest.mark.gpu('H200')"])
    result = project.run("--vllmperf")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*NVML cannot read the GPUs: GPU is lost"])
    result.stdout.no_fnmatch_line("*armed.py*")


# In this process, and in a worker's own.
BROKEN_DRIVER = """
import pynvml

def fail():
    raise pynvml.NVMLError(pynvml.{error})

pynvml.nvmlInit = fail
"""
MISMATCH = (
    "the NVIDIA driver does not work: RM has detected an NVML/RM version mismatch; "
    "the driver was updated, but the old kernel module is still loaded: reboot"
)


@pytest.fixture
def broken_driver(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynvml.nvmlInit", pynvml.nvmlInit)  # so that it comes back
    project.write("conftest.py", BROKEN_DRIVER.format(error="NVML_ERROR_LIB_RM_VERSION_MISMATCH"))
    project.perf_tests("test_marked", "test_other", marks=["@pytest.mark.gpu"])
    project.perf_tests("test_bare", module="test_bare.py")


@pytest.mark.usefixtures("broken_driver")
def test_a_broken_driver_fails_each_performance_test_in_one_line(project: Project, workers: list[str]) -> None:
    project.write("test_plain.py", "def test_plain(): pass\n")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, errors=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.outlines.count(MISMATCH) == 3
    for trace in ("armed.py", "nvml.py", "Traceback", "INTERNALERROR"):
        result.stdout.no_fnmatch_line(f"*{trace}*")


@pytest.mark.usefixtures("broken_driver")
def test_unarmed_nobody_minds_a_broken_driver(project: Project, workers: list[str]) -> None:
    result = project.run(*workers)
    result.assert_outcomes(skipped=3)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["vllmperf: not armed*"])


def test_skipped_test_is_neither_recorded_nor_stale(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, H200)
    project.perf_tests(marks=["@pytest.mark.gpu('H200')"])
    project.record()
    before = project.files()
    _machine(monkeypatch)
    result = project.run("--vllmperf-update")
    result.assert_outcomes(skipped=1)
    result.stdout.no_fnmatch_line("stale:*")
    assert project.files() == before
