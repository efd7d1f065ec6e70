"""Environments of releases: made by a command or found by a path, and never another version's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_vllmperf.bisect.environments import Releases
from pytest_vllmperf.errors import BisectError, UnpreparedError
from pytest_vllmperf.records.bisect import Point
from tests.interpreters import interpreter

POINT = Point(id="0.31.0")


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    """Environments of three releases."""
    for version in ("0.31.0", "0.32.0", "0.32.1+cu129"):
        interpreter(tmp_path / "envs" / version.partition("+")[0], version)
    return tmp_path / "envs"


def releases(tmp_path: Path, command: str = "", path: str = "") -> Releases:
    return Releases(command, path, tmp_path / "log")


def test_a_path(tmp_path: Path, envs: Path) -> None:
    found = releases(tmp_path, path=f"{envs}/{{version}}/bin/python").version(POINT)
    assert (found.python, found.version) == (f"{envs}/0.31.0/bin/python", "0.31.0")
    assert Path(found.folder).is_relative_to(envs / "0.31.0")


def test_the_last_line_of_a_command(tmp_path: Path, envs: Path) -> None:
    command = f"echo installing {{version}}; echo warning >&2; echo; echo '  {envs}/{{version}}/bin/python  '; echo"
    assert releases(tmp_path, command).reference(POINT).python == f"{envs}/0.31.0/bin/python"
    assert "installing 0.31.0" in (tmp_path / "log").read_text()


def test_a_command_and_a_path(tmp_path: Path, envs: Path) -> None:
    made = tmp_path / "made"
    source = releases(tmp_path, f"echo {{version}} > {made}", f"{envs}/{{version}}/bin/python")
    assert source.version(POINT).version == "0.31.0"
    assert made.read_text() == "0.31.0\n"


def test_a_command_makes_each_version_once(tmp_path: Path, envs: Path) -> None:
    command = f"echo {{version}} >> {tmp_path}/made; echo {envs}/{{version}}/bin/python"
    source = releases(tmp_path, command)
    found = [source.reference(POINT), source.version(Point(id="0.32.0")), source.version(POINT)]
    assert [one.version for one in found] == ["0.31.0", "0.32.0", "0.31.0"]
    assert (tmp_path / "made").read_text() == "0.31.0\n0.32.0\n"


def test_a_local_version_is_the_release(tmp_path: Path, envs: Path) -> None:
    source = releases(tmp_path, path=f"{envs}/{{version}}/bin/python")
    assert source.version(Point(id="0.32.1")).version == "0.32.1+cu129"
    named = releases(tmp_path, f"true {{version}}; echo {envs}/0.32.1/bin/python")
    assert named.version(Point(id="0.32.1+cu129")).version == "0.32.1+cu129"
    assert (
        releases(tmp_path, f"true {{version}}; echo {envs}/0.32.0/bin/python").version(Point(id="0.32")).version
        == "0.32.0"
    )
    with pytest.raises(UnpreparedError, match=r"has vLLM 0\.32\.1\+cu129, not 0\.32\.1\+cu128"):
        named.version(Point(id="0.32.1+cu128"))


def test_braces_of_the_shell_are_left_alone(tmp_path: Path, envs: Path) -> None:
    source = releases(tmp_path, f"X=1; echo ${{X}} {{a}}; echo {envs}/{{version}}/bin/python")
    assert source.version(POINT).version == "0.31.0"


@pytest.mark.parametrize(
    ("command", "path", "words"),
    [
        ("", "", "name the interpreter of a version with --python-for COMMAND or --python PATH"),
        ("uv venv", "", "--python-for 'uv venv' has no {version} in it"),
        ("", "/env/bin/python", "--python '/env/bin/python' has no {version} in it"),
        ("make {version}", "/env/bin/python", "--python '/env/bin/python' has no {version} in it"),
    ],
)
def test_what_would_be_the_same_for_all_versions_is_refused(
    tmp_path: Path, command: str, path: str, words: str
) -> None:
    with pytest.raises(BisectError) as one:
        releases(tmp_path, command, path)
    assert words in str(one.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo no matching distribution >&2; exit 1 #{version}", "--python-for ended with 1: no matching distribution"),
        ("no-such-installer {version}", "--python-for ended with 127: "),
        ("true {version}", "--python-for printed nothing; its last line has to be the path of an interpreter"),
        ("echo /nowhere/{version}", "'/nowhere/0.31.0' is not an executable interpreter"),
        ("echo ENVS/0.32.0/bin/python #{version}", "ENVS/0.32.0/bin/python has vLLM 0.32.0, not 0.31.0"),
        ("echo /bin/true #{version}", "/bin/true is not a Python interpreter"),
    ],
)
def test_a_version_that_cannot_be_made_is_told_in_a_line(tmp_path: Path, envs: Path, command: str, words: str) -> None:
    with pytest.raises(UnpreparedError) as one:
        releases(tmp_path, command.replace("ENVS", str(envs))).version(POINT)
    assert words.replace("ENVS", str(envs)) in str(one.value)
    assert "\n" not in str(one.value)


def test_an_interpreter_without_vllm(tmp_path: Path) -> None:
    python = interpreter(tmp_path / "0.31.0", "")
    with pytest.raises(UnpreparedError, match=f"vLLM is not installed for {python}"):
        releases(tmp_path, path=f"{tmp_path}/{{version}}/bin/python").version(POINT)


def test_an_environment_that_was_changed_is_looked_at_anew(tmp_path: Path, envs: Path) -> None:
    source = releases(tmp_path, path=f"{envs}/{{version}}/bin/python")
    assert source.version(POINT).version == "0.31.0"
    site = next((envs / "0.31.0" / "lib").glob("*/site-packages"))
    (site / "vllm-0.31.0.dist-info").rename(site / "vllm-0.30.0.dist-info")
    with pytest.raises(UnpreparedError, match=r"has vLLM 0\.30\.0, not 0\.31\.0"):
        source.version(POINT)


def test_this_interpreter_is_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(UnpreparedError, match=r"not 0\.31\.0|not installed"):
        releases(tmp_path, f"echo {sys.executable} #{{version}}").version(POINT)
