"""The text of a failure is as wide as the terminal allows, alone and in workers, which have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _widest(project: Project, *arguments: str) -> int:
    result = project.run_apart("--vllmperf", *arguments)
    lines = result.outlines
    begin = next(number for number, line in enumerate(lines) if line.startswith("REGRESSED"))
    end = next(number for number, line in enumerate(lines) if number > begin and line.startswith("test_chat.py:"))
    return max(len(line) for line in lines[begin:end])


def test_a_wide_terminal_gets_wide_lines(project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.02, interpreters={"a long name " * 60: {}})
    found = {}
    for columns in (60, 120, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        found[columns] = _widest(project, *workers)
    assert found[60] <= 80 < found[120] <= 120  # its tables need 80
    assert found[300] == found[120]
