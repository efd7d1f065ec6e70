"""Verdicts in colour, where the terminal has colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

RED, GREEN = "\x1b[1m\x1b[31m{}\x1b[0m", "\x1b[1m\x1b[32m{}\x1b[0m"


@pytest.fixture
def slower(project: Project) -> Project:
    project.perf_tests("test_a", "test_b")
    project.record()
    project.perf_tests("test_a", "test_b", step_seconds=0.02)
    return project


def test_red_in_the_failure_and_in_the_table(slower: Project, workers: list[str]) -> None:
    text = slower.run("--vllmperf", "--color=yes", *workers).stdout.str()
    assert f"{RED.format('REGRESSED')} output throughput -" in text
    assert f"test_a  {RED.format('REGRESSED')}" in text
    assert "\x1b[94m" not in text.partition("test_chat.py:")[0].partition("FAILURES")[2], "not as if it were Python"


def test_green_and_none(project: Project) -> None:
    project.perf_tests()
    project.record()
    assert f"test_chat  {GREEN.format('OK')} " in project.run("--vllmperf", "--color=yes").stdout.str()
    assert "\x1b[" not in project.run("--vllmperf", "--color=no").stdout.str()


def test_no_color(slower: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in slower.run("--vllmperf").stdout.str()
