"""`--dist loadgroup` of pytest-xdist: it adds a group to node ids, which is no part of a test's name here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

GROUPED = ("-n", "2", "--dist", "loadgroup")
MARKS = ['@pytest.mark.xdist_group("g@1")', '@pytest.mark.parametrize("mail", ["a@b"])']


def write(project: Project) -> None:
    project.perf_tests("test_chat", "test_other", marks=MARKS)
    file = project.root / "test_chat.py"
    file.write_text(file.read_text().replace("(vllmperf)", "(vllmperf, mail)"))


def test_baselines_and_reports_have_the_names_of_a_run_without_groups(project: Project) -> None:
    write(project)
    project.record(*GROUPED)
    names = ["test_chat[a@b]", "test_other[a@b]"]
    assert sorted(project.stored()) == names
    result = project.run("--vllmperf", "--vllmperf-json=run.json", *GROUPED)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*no longer exists*")
    result.stdout.no_fnmatch_line("*NO_BASELINE*")
    result.stderr.no_fnmatch_line("*NO_BASELINE*")
    tests = json.loads((project.root / "run.json").read_text())["tests"]
    assert [test["nodeid"] for test in tests] == [f"test_chat.py::{name}" for name in names]
    project.run("--vllmperf").assert_outcomes(passed=2)


def test_a_failed_test_is_not_recorded(project: Project) -> None:
    write(project)
    project.record(*GROUPED)
    before = project.stored()
    file = project.root / "test_chat.py"
    file.write_text(
        file.read_text().replace("def test_chat(vllmperf, mail):", "def test_chat(vllmperf, mail):\n    assert 0")
    )
    result = project.run("--vllmperf-update", *GROUPED)
    result.assert_outcomes(passed=1, failed=1)
    assert project.stored()["test_chat[a@b]"] == before["test_chat[a@b]"]


def test_a_test_without_a_baseline_is_told_by_its_name(project: Project) -> None:
    write(project)
    result = project.run_apart("--vllmperf", *GROUPED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "    pytest --vllmperf-update-new 'test_chat.py::test_chat[a@b]'" in result.outlines
