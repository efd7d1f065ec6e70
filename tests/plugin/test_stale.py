from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

REPORTED = "stale: simulated/test_chat.json: test_gone (its test no longer exists)"


@pytest.fixture
def stale(project: Project) -> Project:
    """A baseline with an entry too many."""
    project.perf_tests("test_gone", "test_a", "test_b")
    project.record()
    project.perf_tests("test_a", "test_b")
    return project


def _kept(project: Project, *args: str) -> bool:
    """Whether the entry is still there after an update."""
    project.run("--vllmperf-update", *args)
    assert {"test_a", "test_b"} <= set(project.stored())
    return "test_gone" in project.stored()


def test_reported_by_a_gate_and_kept(stale: Project) -> None:
    before = stale.files()
    result = stale.run("--vllmperf")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([REPORTED])
    assert stale.files() == before


def test_not_reported_where_every_test_exists(project: Project) -> None:
    project.module("""
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
class TestChat:
    def test_chat(self, vllmperf, n):
        run = vllmperf.measure(WORK)
        vllmperf.check(run)
        vllmperf.check(run, name="second look")
""")
    project.record()
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("stale:*")


def test_a_name_that_holds_the_separator_is_not_stale(project: Project) -> None:
    project.module("""
@pytest.mark.parametrize("text", ["a # b"])
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_text(vllmperf, text):
    vllmperf.check(vllmperf.measure(WORK))
""")
    project.record()
    result = project.run("--vllmperf-update")
    result.stdout.no_fnmatch_line("removed from the baseline:*")
    result.stdout.no_fnmatch_line("stale:*")
    assert list(project.stored()) == ["test_text[a # b]"]


def test_update_of_the_whole_module_prunes(stale: Project, workers: list[str]) -> None:
    result = stale.run("--vllmperf-update", *workers)
    result.stdout.fnmatch_lines(["removed from the baseline: test_chat.py::test_gone (its test no longer exists)"])
    result.stdout.no_fnmatch_line("stale:*")
    assert sorted(stale.stored()) == ["test_a", "test_b"]


def test_update_of_one_file_by_name_prunes(stale: Project) -> None:
    stale.write("test_plain.py", "def test_plain(): pass\n")
    assert not _kept(stale, "test_chat.py")


@pytest.mark.parametrize(
    "args",
    [
        ["-k", "test_a"],
        ["test_chat.py::test_a"],
        ["test_chat.py::test_a", "test_chat.py::test_b"],
        ["--deselect", "test_chat.py::test_a"],
        ["-m", "vllm and not slow"],
    ],
    ids=" ".join,
)
def test_an_update_of_a_part_prunes_nothing(stale: Project, args: list[str]) -> None:
    body = (stale.root / "test_chat.py").read_text().replace("def test_b", "@pytest.mark.slow\ndef test_b")
    stale.ini("markers = slow")
    stale.write("test_chat.py", body)
    result = stale.run("--vllmperf", *args)
    result.stdout.no_fnmatch_line("stale:*")
    assert _kept(stale, *args)


def test_xdist_with_a_part_prunes_nothing(stale: Project) -> None:
    assert _kept(stale, "-n", "2", "test_chat.py::test_a")


def test_last_failed_prunes_nothing(stale: Project) -> None:
    stale.perf_tests("test_a", "test_b", step_seconds=0.02)
    stale.run("--vllmperf", "-k", "test_a").assert_outcomes(failed=1, deselected=1)
    assert _kept(stale, "--lf")


def test_stepwise_prunes_nothing(stale: Project) -> None:
    assert _kept(stale, "--stepwise")


@pytest.mark.parametrize("when", ["call", "setup", "teardown"])
def test_a_failure_in_the_module_prunes_nothing(stale: Project, when: str) -> None:
    with (stale.root / "test_chat.py").open("a") as file:
        file.write({
            "call": "\ndef test_wrong(): assert False\n",
            "setup": "\n@pytest.fixture\ndef bad(): assert False\n\ndef test_wrong(bad): pass\n",
            "teardown": "\n@pytest.fixture\ndef bad():\n    yield\n    assert False\n\ndef test_wrong(bad): pass\n",
        }[when])  # fmt: skip
    assert _kept(stale)


def test_a_failure_elsewhere_does_not_matter(stale: Project) -> None:
    stale.write("test_wrong.py", "def test_wrong(): assert False\n")
    assert not _kept(stale)


def test_a_run_that_stopped_before_the_modules_end_prunes_nothing(project: Project) -> None:
    """The failing test of another module comes between the two of this one, as one engine's tests run together."""
    project.perf_tests("test_gone", "test_a")
    project.record()
    project.module("""
def engine(step):
    return pytest.mark.vllm("sim", backend="simulated", step_seconds=step)

@engine(0.01)
def test_a(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

@engine(0.02)
def test_late(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
""")
    project.perf_tests("test_wrong", module="test_other.py", check="assert False")
    result = project.run("--vllmperf-update", "-x")
    result.assert_outcomes(passed=1, failed=1)
    assert sorted(project.stored()) == ["test_a", "test_gone"]


def test_a_module_that_lost_its_last_check_is_pruned(stale: Project) -> None:
    """By a run that tells the hardware, as which tests there are may depend on it."""
    stale.module("def test_plain(): pass\n")
    stale.run("--vllmperf-update")
    assert sorted(stale.stored()) == ["test_a", "test_b", "test_gone"]
    stale.perf_tests("test_other", module="test_other.py")
    stale.run("--vllmperf").stdout.fnmatch_lines([REPORTED])
    result = stale.run("--vllmperf-update")
    result.stdout.fnmatch_lines(["removed from the baseline: test_chat.py::test_gone *"])
    assert not stale.baseline().exists() or stale.stored() == {}


def test_a_module_that_is_gone_is_reported(stale: Project) -> None:
    stale.perf_tests("test_new", module="test_new.py")
    (stale.root / "test_chat.py").unlink()
    result = stale.run("--vllmperf-update")
    result.stdout.fnmatch_lines(
        ["stale: test_chat.json: its test module no longer exists; delete baselines/simulated/test_chat.json"]
    )


def test_update_new_never_prunes(stale: Project) -> None:
    stale.run("--vllmperf-update-new").assert_outcomes(passed=2)
    assert "test_gone" in stale.stored()


def test_another_check_of_a_test_that_exists_is_kept(project: Project) -> None:
    """An entry of a test that exists is kept: whether a check ran may depend on the machine."""
    project.perf_tests(check="vllmperf.check(run); vllmperf.check(run, name='more')")
    project.record()
    project.perf_tests()
    project.record()
    assert sorted(project.stored()) == ["test_chat", "test_chat # more"]
