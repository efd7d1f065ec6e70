from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BAD = {
    "not json": ("this is no JSON\n", "not JSON"),
    "empty": ("", "not JSON"),
    "binary": ("\x00\x01", "not JSON"),
    "newer": ('{"schema": "pytest-vllmperf/baseline", "version": 99, "tests": {}}', "newer"),
    "older": (
        '{"schema": "pytest-vllmperf/baseline", "version": 1, "tests": {}}',
        "record it again with: pytest --vllmperf-update",
    ),
    "no version": ('{"schema": "pytest-vllmperf/baseline", "tests": {}}', "version"),
    "other schema": ('{"schema": "pytest-benchmark", "version": 1}', "'pytest-benchmark'"),
    "no schema": ('{"machine_info": {}, "benchmarks": []}', "not a baseline"),
    "list": ("[1, 2]", "not a baseline"),
    "number": ("7", "not a baseline"),
    "wrong content": ('{"schema": "pytest-vllmperf/baseline", "version": 6, "tests": {"test_chat": {}}}', "test_chat"),
    "not a number": ('{"schema": "pytest-vllmperf/baseline", "version": 6, "tests": NaN}', "tests"),
    "a key twice": (
        '{"schema": "pytest-vllmperf/baseline", "version": 6, "tests": {}, "tests": {}}',
        "the key 'tests' stands twice in one place, as after a merge of two versions; restore it from version control",
    ),
    "unknown key": ('{"schema": "pytest-vllmperf/baseline", "version": 6, "tests": {}, "more": 1}', "more"),
}
FLAGS = ["--vllmperf", "--vllmperf-update", "--vllmperf-update-new"]


def _refused(project: Project, words: str, *args: str) -> None:
    before = project.files()
    result = project.run(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert len(errors) == 1
    assert str(project.baseline()) in errors[0]
    assert words in errors[0]
    assert "Traceback" not in result.stderr.str()
    assert "passed" not in result.stdout.str()
    assert project.files() == before


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("kind", BAD)
def test_refused_and_untouched(project: Project, kind: str, flag: str) -> None:
    text, words = BAD[kind]
    project.perf_tests()
    project.write("baselines/simulated/test_chat.json", text)
    _refused(project, words, flag)


@pytest.mark.parametrize("flag", FLAGS)
def test_truncated(project: Project, flag: str) -> None:
    project.perf_tests()
    project.record()
    whole = project.baseline().read_bytes()
    project.baseline().write_bytes(whole[: len(whole) // 2])
    _refused(project, "truncated", flag)


def test_a_test_that_stands_twice(project: Project, workers: list[str]) -> None:
    """Git may keep both sides of a conflict. One would be ignored, and the slower one hide a slowdown."""
    project.perf_tests()
    project.record()
    entry, text = project.stored()["test_chat"], project.baseline().read_text(encoding="utf-8")
    both = text.replace('"tests": {', f'"tests": {{"test_chat": {json.dumps(entry)},')
    project.baseline().write_text(both, encoding="utf-8")
    assert project.stored() == {"test_chat": entry}
    _refused(project, "the key 'test_chat' stands twice in one place", "--vllmperf", *workers)


def test_not_text(project: Project) -> None:
    project.perf_tests()
    project.record()
    project.baseline().write_bytes(b'{"schema": "\xff\xfe"}')
    _refused(project, "cannot be read", "--vllmperf-update")


def test_xdist(project: Project) -> None:
    project.perf_tests()
    project.write("baselines/simulated/test_chat.json", "{")
    _refused(project, "not JSON", "--vllmperf-update", "-n", "2")


def test_infinite_samples(project: Project) -> None:
    project.perf_tests()
    project.record()
    content = json.loads(project.baseline().read_text())
    samples = content["tests"]["test_chat"]["sessions"][0]["engines"][0]["samples"]
    samples["output_throughput"][0] = float("inf")
    project.baseline().write_text(json.dumps(content))
    _refused(project, "output_throughput", "--vllmperf")


def test_a_bad_file_of_another_module_stops_the_run_too(project: Project) -> None:
    project.perf_tests(module="test_other.py")
    project.write("baselines/simulated/test_chat.json", "{")
    _refused(project, "not JSON", "--vllmperf-update", "test_other.py")


def test_other_files_in_the_folder_are_left_alone(project: Project) -> None:
    project.perf_tests()
    project.write("baselines/README.md", "notes\n")
    project.write("baselines/simulated/.gitattributes", "*.json -diff\n")
    project.record()
    assert len(project.files()) == 3


FOREIGN = ("package.json", "node_modules/a/package.json", ".vscode/settings.json")


def test_json_of_other_programs_is_left_alone(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    for name in FOREIGN:
        project.write(f"baselines/simulated/{name}", '{"name": "mine"}')
    project.record(*workers)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    assert len(project.files()) == 4
    assert project.run("--vllmperf-update").ret == pytest.ExitCode.OK
    project.run("--vllmperf").stdout.no_fnmatch_line("*stale*")


def test_a_pipe_in_the_place_of_a_baseline_is_never_waited_for(project: Project) -> None:
    project.perf_tests()
    project.baseline().parent.mkdir(parents=True)
    os.mkfifo(project.baseline())
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *test_chat.json: cannot be read: it is not a regular file"])


HOSTILE = ["[" * 100_000, '{"version": ' + "9" * 5000 + "}", '{"schema": "\\ud800"}']


@pytest.mark.parametrize("text", HOSTILE, ids=["nested", "digits", "surrogate"])
def test_hostile_files_are_one_line(project: Project, text: str) -> None:
    project.perf_tests()
    project.write("baselines/simulated/test_chat.json", text)
    _refused(project, "not JSON", "--vllmperf")


def test_samples_whose_sum_is_infinite(project: Project) -> None:
    project.perf_tests()
    project.record()
    content = json.loads(project.baseline().read_text())
    samples = content["tests"]["test_chat"]["sessions"][0]["engines"][0]["samples"]
    samples["output_throughput"] = [1e308] * len(samples["output_throughput"])
    project.baseline().write_text(json.dumps(content))
    _refused(project, "1e+308 is out of range", "--vllmperf")


def test_a_recording_run_removes_what_a_killed_one_has_left(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    left = project.write(f"baselines/simulated/.vllmperf-{'0' * 16}.tmp", "half")
    project.record(*workers)
    assert not left.exists()
