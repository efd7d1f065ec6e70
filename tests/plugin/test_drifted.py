"""DRIFTED: a decline that crept in over sessions fails its test, and says how to accept it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# What judges is replaced in each process that measures: a drift takes many sessions, and is the verdict's own matter.
DRIFTS = """
from pytest_vllmperf.checking import check
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Status, Verdict

JUDGE = check.judge
DRIFTED = MetricVerdict(
    "output_throughput", Status.DRIFTED, 4812.0, 4519.0, 0.05, -0.02, engines=3,
    drift=Drift(-0.061, "2026-10-02T08:00:00+00:00", 14),
)

def pytest_configure():
    check.judge = lambda _: Verdict(Status.DRIFTED, (DRIFTED,))

def pytest_unconfigure():
    check.judge = JUDGE
"""


def test_it_fails_its_test_like_a_regression(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    project.write("conftest.py", DRIFTS)
    result = project.run("--vllmperf-append", "--junitxml=report.xml", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, warnings=1)
    assert "DriftedWarning: DRIFTED output throughput -6.1 %" in " ".join(result.outlines)
    result.stdout.fnmatch_lines(
        [
            "DRIFTED output throughput -6.1 % since the update of 2026-10-02, margin 5 %",
            "    4,812 -> 4,519 tok/s",
            "    over 14 sessions, none of which was a regression by itself",
            "If the new level is intended, accept it with:",
            '    pytest --vllmperf-update --vllmperf-reason "..." *test_chat.py::test_chat',
            "test_chat  DRIFTED*",
            "appended 0, left out 1:",
            "  test_chat: it is DRIFTED",
            "FAILED test_chat.py::test_chat - DRIFTED *",
        ]
    )
    assert project.files() == before
    properties = {one.get("name"): one.get("value") for one in ET.parse(project.root / "report.xml").iter("property")}
    assert properties["vllmperf.status"] == "DRIFTED"
    assert properties["vllmperf.output_throughput.drift"] == "-0.061"


def test_the_printed_command_accepts_the_new_level(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.write("conftest.py", DRIFTS)
    result = project.run("--vllmperf")
    (line,) = (line for line in result.outlines if line.startswith("    pytest --vllmperf-update"))
    project.run(*shlex.split(line)[1:]).assert_outcomes(passed=1)
    assert project.stored()["test_chat"]["reason"] == "..."
    assert project.sessions() == [3]
