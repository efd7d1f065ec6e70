"""A baseline that is a symbolic link stays one; what it points to is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def shared(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the project's baseline is a link to; it is not there yet."""
    target = tmp_path_factory.mktemp("shared") / "chat.json"
    project.baseline().parent.mkdir(parents=True)
    project.baseline().symlink_to(target)
    return target


def test_recording_and_appending_write_the_target(project: Project, shared: Path) -> None:
    project.perf_tests()
    for flag, sessions in (("--vllmperf-update", 1), ("--vllmperf-append", 2), ("--vllmperf-update", 1)):
        result = project.run(flag)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["written: baselines/simulated/test_chat.json"])
        assert project.baseline().is_symlink()
        stored = json.loads(shared.read_text(encoding="utf-8"))["tests"]["test_chat"]
        assert len(stored["sessions"]) == sessions
        assert list(shared.parent.iterdir()) == [shared]


def test_permissions_stay(project: Project, shared: Path) -> None:
    project.perf_tests()
    project.record()
    shared.chmod(0o600)
    project.record()
    assert shared.stat().st_mode & 0o777 == 0o600


def test_links_in_a_circle_are_refused_before_anything_starts(project: Project, starts: list[str]) -> None:
    path = project.baseline()
    path.parent.mkdir(parents=True)
    path.symlink_to(path)
    project.perf_tests()
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {path}: cannot be read: Too many levels of symbolic links"])
    assert starts == []
