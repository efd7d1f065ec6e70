from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

NOTE = "nothing was recorded: the run did not come to its end"


def _interrupted(project: Project) -> None:
    """The first test passes with something to record, the second one is interrupted."""
    project.perf_tests("test_a", step_seconds=0.02)
    with (project.root / "test_chat.py").open("a") as file:
        file.write('\n@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.02)\n')
        file.write("def test_b(vllmperf):\n    raise KeyboardInterrupt\n")


def _run(project: Project, flag: str) -> pytest.RunResult:
    """In this process, which is to survive it."""
    return project.pytester.runpytest_inprocess(flag, "-p", "no:hypothesispytest", no_reraise_ctrlc=True)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_nothing_is_written_and_that_is_said(project: Project, workers: list[str]) -> None:
    _interrupted(project)
    result = project.run_apart("--vllmperf-update", *workers)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([NOTE])
    assert project.files() == {}


def test_update_new(project: Project) -> None:
    _interrupted(project)
    result = _run(project, "--vllmperf-update-new")
    result.stdout.fnmatch_lines(["test_a  UNDECIDED*", NOTE])
    assert result.parseoutcomes()["passed"] == 1
    assert project.files() == {}


def test_what_there_was_is_untouched(project: Project) -> None:
    project.perf_tests("test_a")
    project.record()
    before = project.files()
    _interrupted(project)
    assert _run(project, "--vllmperf-update").ret == pytest.ExitCode.INTERRUPTED
    assert project.files() == before


def test_a_gate_has_nothing_to_say_about_recording(project: Project) -> None:
    project.perf_tests("test_a", step_seconds=0.02)
    project.record()
    _interrupted(project)
    result = _run(project, "--vllmperf")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.no_fnmatch_line("nothing was recorded*")


def test_an_error_of_collection(project: Project) -> None:
    project.perf_tests()
    project.write("test_broken.py", "import no_such_module\n")
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([NOTE])
    assert project.files() == {}
