"""Each test has an entry of its own, or the run is refused in one line before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

REFUSED = (
    "tests/{}/test_x.py* is outside pytest's root directory configs; baselines are stored by a module's path "
    "below it. Add --rootdir=."
)


@pytest.fixture
def outside(project: Project) -> Project:
    """Two modules of one name, outside the folder of the configuration file."""
    (project.root / "pytest.ini").rename(project.root / "pytest.in")
    project.write("configs/pytest.ini", "[pytest]\n")
    for folder in ("a", "b"):
        project.perf_tests(module=f"tests/{folder}/test_x.py")
    return project


@pytest.mark.parametrize("arguments", [["tests"], ["tests/a", "tests/b"], ["tests/a/test_x.py"]])
@pytest.mark.parametrize("flag", ["--vllmperf", "--vllmperf-update"])
def test_outside_the_root_directory(outside: Project, arguments: list[str], flag: str, starts: list[str]) -> None:
    result = outside.run("-c", "configs/pytest.ini", flag, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: tests/a/test_x.py:*: {REFUSED.format('a')}"])
    assert starts == []
    assert not list(outside.root.rglob("baselines"))


def test_xdist(outside: Project) -> None:
    result = outside.run("-c", "configs/pytest.ini", "--vllmperf-update", "tests", "-n", "1")
    result.assert_outcomes(errors=2)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    text = " ".join(result.stdout.str().split())
    assert "is outside pytest's root directory configs" in text
    assert not list(outside.root.rglob("baselines"))


def test_with_the_root_directory_that_the_line_names_both_are_told_apart(outside: Project) -> None:
    arguments = ("-c", "configs/pytest.ini", "--rootdir=.", "--import-mode=importlib", "tests")
    outside.run("--vllmperf-update", *arguments).assert_outcomes(passed=2)
    assert set(outside.files()) == {f"simulated/tests/{name}/test_x.json" for name in "ab"}
    outside.run("--vllmperf", *arguments).assert_outcomes(passed=2)


def test_ordinary_tests_may_lie_anywhere(outside: Project) -> None:
    outside.perf_tests(module="configs/test_perf.py")
    outside.write("tests/test_plain.py", "def test_plain(): pass\n")
    arguments = ("-c", "configs/pytest.ini", "configs", "tests/test_plain.py")
    outside.run("--vllmperf-update", *arguments).assert_outcomes(passed=2)


OTHER_SUFFIX = """\
import importlib.util, pytest

class File(pytest.Module):
    def _getobj(self):
        spec = importlib.util.spec_from_loader("other", importlib.machinery.SourceFileLoader("other", str(self.path)))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".perf":
        return File.from_parent(parent, path=file_path)
"""


def test_two_modules_of_one_file(project: Project, starts: list[str]) -> None:
    project.write("conftest.py", OTHER_SUFFIX)
    project.perf_tests()
    project.perf_tests(module="test_chat.perf")
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *: test_chat.p* and test_chat.p* would use the same baseline file; rename one of them"]
    )
    assert starts == []


def test_a_name_that_is_too_long_for_a_baseline(project: Project, starts: list[str]) -> None:
    name = "test_" + "x" * 247
    project.perf_tests(module=f"{name}.py")
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: *: {name}.py: the module name makes the name of its baseline file 2 bytes too long; shorten it"]
    )
    assert starts == []
    project.perf_tests(module=f"{name[:-2]}.py")
    (project.root / f"{name}.py").unlink()
    project.record()


def test_names_of_parameters_may_be_of_any_length(project: Project, workers: list[str]) -> None:
    long = "x" * 5000
    project.perf_tests(
        check=f"vllmperf.check(run, name={long!r})", marks=[f'@pytest.mark.parametrize("n", [1], ids=[{long!r}])']
    )
    text = (project.root / "test_chat.py").read_text().replace("(vllmperf)", "(vllmperf, n)")
    project.write("test_chat.py", text)
    project.record(*workers)
    assert list(project.stored()) == [f"test_chat[{long}] # {long}"]
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
