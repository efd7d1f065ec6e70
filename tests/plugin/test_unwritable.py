"""A regular file stands where a folder should be: no user, not even root, can write below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.mark.parametrize("flag", ["--vllmperf-update", "--vllmperf-update-new"])
@pytest.mark.parametrize("folder", ["taken", "taken/deeper/still"])
def test_refused_before_anything_is_measured(project: Project, flag: str, folder: str) -> None:
    project.perf_tests()
    taken = project.write("taken", "in the way\n")
    result = project.run(flag, "--vllmperf-baselines", folder)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *taken: baselines cannot be written there: *"])
    assert "passed" not in result.stdout.str()
    assert taken.read_text() == "in the way\n"


def test_xdist(project: Project) -> None:
    project.perf_tests()
    project.write("baselines", "in the way\n")
    result = project.run("--vllmperf-update", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *baselines: baselines cannot be written there: *"])


def test_the_folder_of_this_hardware(project: Project) -> None:
    project.perf_tests()
    profile = project.write("baselines/simulated", "in the way\n")
    result = project.run("--vllmperf-update")
    assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.INTERNAL_ERROR)
    output = result.stdout.str() + result.stderr.str()
    assert str(profile) in output
    assert "Traceback" not in output
    assert "baseline.py" not in output
    assert profile.read_text() == "in the way\n"


def test_a_folder_that_goes_away_while_the_run_lasts(project: Project) -> None:
    project.perf_tests()
    project.write(
        "conftest.py",
        "import pathlib, pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtestloop(session):\n"
        "    result = yield\n"
        "    if not hasattr(session.config, 'workerinput'):\n"
        "        pathlib.Path('baselines').write_text('in the way')\n"
        "    return result\n",
    )
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *baselines*not written: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert (project.root / "baselines").read_text() == "in the way"
