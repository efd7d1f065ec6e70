"""`per_gpu=`: engine arguments by GPU, in the marker and in `vllmperf.engine()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines import launcher
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.gpu import GpuDevice

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

RTX = GpuDevice("GPU-1", "NVIDIA GeForce RTX 4060", 8 * 2**30, (8, 9), "570.1")
# The simulated engine never runs on a GPU, so it stands in for vLLM's here.
WORKERS = """
if os.environ.get("PYTEST_XDIST_WORKER"):
    from pytest_vllmperf.engines import launcher, simulated

    launcher.Launcher.start = lambda self, spec, env, progress: simulated.SimulatedEngine(spec)
"""
BY_GPU = 'per_gpu={"RTX": {"max_num_seqs": 2, "step_seconds": 0.04}, "rtx 40[67]0": {"step_seconds": 0.02}, "H200": {}}'


@pytest.fixture
def on_rtx(project: Project, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines run on an RTX 4060."""
    gpus(RTX)
    conftest = project.root / "conftest.py"
    project.write("conftest.py", conftest.read_text(encoding="utf-8") + WORKERS)
    monkeypatch.setattr(launcher.Launcher, "start", lambda self, spec, env, progress: SimulatedEngine(spec))


@pytest.mark.usefixtures("on_rtx")
def test_the_engine_has_the_arguments_of_its_gpu(project: Project, workers: list[str]) -> None:
    project.module(f"""
@pytest.mark.vllm("marked", step_seconds=0.01, {BY_GPU})
def test_marked(vllmperf):
    assert vllmperf.measure(WORK).spec_label == "marked max_num_seqs=2 step_seconds=0.02"

def test_called(vllmperf):
    called = vllmperf.engine("called", step_seconds=0.01, {BY_GPU})
    assert vllmperf.measure(WORK, engine=called).spec_label == "called max_num_seqs=2 step_seconds=0.02"
""")
    project.run("--vllmperf", *workers).assert_outcomes(passed=2)


def test_without_a_gpu_the_engine_has_its_own(project: Project, gpus: Callable[..., None], workers: list[str]) -> None:
    gpus()
    project.perf_tests(per_gpu={".*": {"step_seconds": 0.04}})
    project.record(*workers)
    assert project.stored()["test_chat"]["engine"] == "sim step_seconds=0.01"


def test_what_cannot_be_meant_fails_the_call_in_a_line(project: Project, workers: list[str]) -> None:
    project.module("""
def test_chat(vllmperf):
    vllmperf.engine("sim", backend="simulated", per_gpu={"RTX (": {"step_seconds": 0.04}})
""")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["per_gpu?'RTX ('?: not a regular expression: missing ), *"])
    result.stdout.no_fnmatch_line("*spec.py*")


def test_what_cannot_be_meant_in_a_marker_fails_before_anything_starts(project: Project, starts: list[str]) -> None:
    project.perf_tests(per_gpu={"RTX": {"python": "/bin/sh"}})
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = "per_gpu['RTX']: 'python' is not an engine argument and cannot differ by GPU"
    assert [found for found in result.errlines if found] == [
        f"ERROR: test_chat.py:6: test_chat.py::test_chat: @pytest.mark.vllm: {line}"
    ]
    assert starts == []
