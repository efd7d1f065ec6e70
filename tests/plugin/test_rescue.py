"""What was measured is never lost: to a file that cannot be written, to a name, or to a text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import cli

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LATER = """\
import pathlib, pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    result = yield
    if not hasattr(session.config, 'workerinput'):
        {}
    return result
"""


def test_the_first_file_that_cannot_be_written_does_not_lose_the_others(project: Project, workers: list[str]) -> None:
    for name in ("test_a", "test_b", "test_c"):
        project.perf_tests(name, module=f"{name}.py")
    project.write("conftest.py", LATER.format("pathlib.Path('baselines/simulated/test_a.json').mkdir(parents=True)"))
    result = project.run("--vllmperf-update", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *test_a.json: cannot be read: Is a directory", "*vllmperf baseline restore *"])
    assert set(project.stored("test_b")) == {"test_b"}
    assert set(project.stored("test_c")) == {"test_c"}
    (file,) = project.root.glob("vllmperf-rescue-*.json")
    command = next(line for line in result.outlines if line.strip().startswith("vllmperf baseline restore")).split()
    assert command[3:] == [str(file), "--baselines", "baselines"]
    project.baseline("test_a").rmdir()
    assert cli.main([*command[1:5], str(project.root / "baselines")]) == 0
    project.write("conftest.py", "")
    project.run("--vllmperf").assert_outcomes(passed=3)


def test_a_disk_that_is_full_at_the_end(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    full = "import os, errno, pytest_vllmperf.storage.atomic as atomic\n" + LATER.format(
        "pass\n"
        "    def full(path, *args, _write=atomic.write_text, **kwargs):\n"
        "        if 'baselines' in str(path):\n"
        "            raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "        return _write(path, *args, **kwargs)\n"
        "    atomic.write_text = full"
    )
    project.write("conftest.py", full)
    result = project.run_apart("--vllmperf-update", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *test_chat.json: not written: No space left on device"])
    assert project.files() == before
    assert len(list(project.root.glob("vllmperf-rescue-*.json"))) == 1


def test_scorecards_that_cannot_be_written(project: Project, workers: list[str]) -> None:
    mark = "@pytest.mark.scorecard('card', baseline='full', configuration='full')"
    project.perf_tests(marks=[mark])
    project.write("conftest.py", LATER.format("pathlib.Path('cards').write_text('in the way')"))
    result = project.run("--vllmperf-update", "--vllmperf-scorecards", "cards", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *cards: the scorecard could not be written: File exists"])
    (folder,) = project.root.glob("vllmperf-rescue-*-scorecards")
    assert {path.suffix for path in folder.iterdir()} == {".md", ".json"}
    assert project.stored()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("a\udcff", r"'a\udcff' is not text in UTF-8"),
        ("a\x1b[31m", r"'a\x1b[31m' is not text on one line, without control characters"),
        ("a\nb", r"'a\nb' is not text on one line, without control characters"),
    ],
)
def test_a_reason_that_cannot_be_written_is_refused_at_the_start(
    project: Project, reason: str, words: str, starts: list[str]
) -> None:
    project.perf_tests()
    result = project.run("--vllmperf-update", "--vllmperf-reason", reason)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: --vllmperf-reason: {words}" in result.errlines
    assert starts == []


def test_a_folder_whose_name_cannot_be(project: Project) -> None:
    project.perf_tests()
    for flag in ("--vllmperf-baselines", "--vllmperf-scorecards"):
        for name, words in (("x" * 300, "File name too long"), ("a\0b", "is not a valid folder name")):
            result = project.run("--vllmperf-update", flag, name)
            assert result.ret == pytest.ExitCode.USAGE_ERROR
            (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
            assert words in line


SURROGATES = ["@pytest.mark.parametrize('n', ['\\udcff', '\\udcfe'], ids=str)"]


def test_an_id_that_is_no_unicode(project: Project) -> None:
    """pytest escapes ids of its own accord, unless it is asked not to; then its cache cannot be written."""
    project.ini("disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true")
    project.perf_tests(marks=SURROGATES, check="vllmperf.check(run, name='own \\udcfd')")
    text = (project.root / "test_chat.py").read_text().replace("(vllmperf)", "(vllmperf, n)")
    project.write("test_chat.py", text)
    result = project.run_apart("--vllmperf-update", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert set(project.stored()) == {rf"test_chat[\udc{end}] # own \udcfd" for end in ("ff", "fe")}
    result = project.run_apart("--vllmperf", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*stale*")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"},
                                       {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])  # fmt: skip
def test_a_terminal_that_does_not_know_a_character(
    project: Project, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, workers: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    project.perf_tests()
    result = project.run_apart("--vllmperf-update", *workers)
    result.assert_outcomes(passed=1)
    assert project.stored()
    project.perf_tests(step_seconds=0.02)
    result = project.run_apart("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    assert re.search(r"in 1 session (\\xb7|\W+) 99 % CI", result.stdout.str()), "a point in the middle is escaped"
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


REPLACE = "@pytest.fixture(autouse=True, scope='session')\ndef replace():\n    yield\n    {}\n"


def test_an_entry_that_another_run_replaces_meanwhile(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    text = project.baseline().read_text()
    assert '"model": ' in text
    change = (
        "import json, pathlib; path = pathlib.Path('baselines/simulated/test_chat.json'); found = json.loads("
        "path.read_text()); found['tests']['test_a']['sessions'][-1]['environment']['hard']['model'] = 'other'; "
        "path.write_text(json.dumps(found))"
    )
    project.write("conftest.py", f"import pytest\n{REPLACE.format(change)}")
    result = project.run("--vllmperf-append", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        [
            "appended 1, left out 0",
            "ERROR: test_chat.py::test_a: not appended: another run has replaced (model: other -> *) the*",
        ]
    )
    assert (project.sessions("test_a"), project.sessions("test_b")) == ([3], [3, 3])
