"""What all baselines of a profile say of its noise reaches every check of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# The statistics are replaced in each process that measures: this is about what reaches them, and what comes of it.
NOTES = """
from dataclasses import replace
from pathlib import Path

from pytest_vllmperf.checking import history
from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.stats.prior import WALL_CLOCK

FIT = history.fit_priors

def fitted(found):
    with Path(__file__).with_name("asked.txt").open("a") as file:
        file.write(f"{sorted(map(len, found))}\\n")
    return dict.fromkeys(MetricClass, replace(WALL_CLOCK, metrics=12, sessions=2))

def pytest_configure():
    history.fit_priors = fitted

def pytest_unconfigure():
    history.fit_priors = FIT
"""


def test_all_files_of_the_profile_are_fitted_once_for_all_checks(project: Project, workers: list[str]) -> None:
    noise = "vllmperf.check(run).metrics[0].noise"
    project.perf_tests("test_a", "test_b", module="test_one.py")
    project.perf_tests("test_c", module="folder/test_two.py")
    project.record()
    project.run("--vllmperf-append", "folder").assert_outcomes(passed=1)
    project.perf_tests("test_a", "test_b", module="test_one.py", check=f"assert {noise}.prior.metrics == 12")
    project.run("--vllmperf", "test_one.py").assert_outcomes(failed=2)
    project.write("conftest.py", NOTES)
    project.run("--vllmperf", "test_one.py", *workers).assert_outcomes(passed=2)
    assert (project.root / "asked.txt").read_text().splitlines() == ["[1, 1, 2]"]
