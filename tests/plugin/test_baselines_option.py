from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

FILE = Path("simulated/test_chat.json")


def test_option_is_taken_from_the_root_directory(project: Project) -> None:
    project.perf_tests()
    project.record("--vllmperf-baselines", "kept/here")
    assert (project.root / "kept/here" / FILE).is_file()
    assert project.files() == {}
    project.run("--vllmperf", "--vllmperf-baselines", "kept/here").assert_outcomes(passed=1)
    project.run("--vllmperf").assert_outcomes(failed=1)


def test_absolute_path(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    project.perf_tests()
    project.record(f"--vllmperf-baselines={elsewhere}")
    assert (elsewhere / FILE).is_file()


def test_ini_and_option_over_it(project: Project) -> None:
    project.ini("vllmperf_baselines = perf/base")
    project.perf_tests()
    project.record()
    assert (project.root / "perf/base" / FILE).is_file()
    project.record("--vllmperf-baselines=other")
    assert (project.root / "other" / FILE).is_file()


def test_subfolder_as_the_start(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.perf_tests(module="sub/test_chat.py")
    monkeypatch.chdir(project.root / "sub")
    project.record()
    assert list(project.files()) == ["simulated/sub/test_chat.json"]
