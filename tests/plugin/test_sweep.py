"""`@pytest.mark.sweep`: one test for each point."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TEST = """
@pytest.mark.vllm("sim", backend="simulated", max_num_seqs=1, prefill_seconds_per_token=0)
@pytest.mark.sweep({axes})
def test_steps(vllmperf):
    run = vllmperf.measure(WORK)
    print("STEPS", run.engine_steps, run.ttft.p50)
    vllmperf.check(run)
"""
GRID = "max_num_seqs=[1, 4], step_seconds=[0.01, 0.02]"
IDS = [f"test_steps[max_num_seqs={seqs}-step_seconds={step}]" for seqs in (1, 4) for step in (0.01, 0.02)]


def _steps(result: pytest.RunResult) -> list[float]:
    return [float(found) for found in re.findall(r"STEPS ([\d.]+)", result.stdout.str())]


def test_each_point_is_a_test_on_an_engine_of_its_own(project: Project) -> None:
    project.module(TEST.format(axes=GRID))
    result = project.run("--vllmperf-update", "-s")
    result.assert_outcomes(passed=4)
    assert sorted(_steps(result)) == [5.0, 5.0, 20.0, 20.0]
    stored = "".join(path.read_text(encoding="utf-8") for path in (project.root / "baselines").rglob("*.json"))
    assert all(f'"{name}"' in stored for name in IDS)


def test_one_at_a_time(project: Project) -> None:
    project.module(TEST.format(axes=f"mode='one-at-a-time', {GRID}"))
    project.run("--vllmperf-update").assert_outcomes(passed=3)


def test_with_workers(project: Project) -> None:
    project.module(TEST.format(axes=GRID))
    project.run("--vllmperf-update", "-n", "2").assert_outcomes(passed=4)
    project.run("--vllmperf", "-n", "2").assert_outcomes(passed=4)


def test_unarmed_all_points_are_skipped(project: Project) -> None:
    project.module(TEST.format(axes=GRID))
    project.run().assert_outcomes(skipped=4)


BAD = {
    "": "the grid is empty",
    "max_num_seqs=4": "max_num_seqs=4 must be a list of one value or more",
    "max_num_seqs=[]": "max_num_seqs=[] must be a list of one value or more",
    "max_num_seqs=[4, 4]": "an axis has a value twice",
    "max_num_seqs=[object]": "a value cannot be handed to another process",
    "mode='gird', max_num_seqs=[4]": "mode='gird' is neither 'grid' nor 'one-at-a-time'",
    "[4]": "takes keywords only",
}


@pytest.mark.parametrize("axes", BAD)
def test_what_cannot_be_meant_is_one_line(project: Project, axes: str) -> None:
    project.module(TEST.format(axes=axes))
    result = project.run("--vllmperf")
    result.assert_outcomes(errors=1)
    text = " ".join(line.strip() for line in result.outlines)
    assert f"@pytest.mark.sweep: {BAD[axes]}" in text
    assert "Traceback" not in text


def test_it_needs_an_engine_and_the_fixture(project: Project) -> None:
    project.module("""
@pytest.mark.sweep(max_num_seqs=[4])
def test_no_engine(vllmperf):
    pass
""")
    assert "needs @pytest.mark.vllm(MODEL), whose engine it varies" in project.run("--vllmperf").stdout.str()


def test_without_the_fixture(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("sim", backend="simulated")
@pytest.mark.sweep(max_num_seqs=[4])
def test_no_fixture():
    pass
""")
    assert "the test does not use the fixture vllmperf" in project.run("--vllmperf").stdout.str()
