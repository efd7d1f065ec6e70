from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _other_workload(project: Project) -> None:
    project.perf_tests()
    project.record()
    body = project.root.joinpath("test_chat.py").read_text().replace("output_tokens=5", "output_tokens=6")
    project.write("test_chat.py", body)


def test_other_work_is_not_judged(project: Project) -> None:
    _other_workload(project)
    before = project.files()
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["NOT_COMPARABLE  test_chat: output tokens 5 -> 6", "*record it again with:", "test_chat *NOT_COMPARABLE*"]
    )
    result.stdout.no_fnmatch_line("*REGRESSED*")
    assert project.files() == before


def test_the_printed_command_records_anew(project: Project) -> None:
    _other_workload(project)
    result = project.run("--vllmperf")
    (line,) = [line for line in result.outlines if line.startswith("    pytest ")]
    project.run(*shlex.split(line)[1:]).assert_outcomes(passed=1)
    assert project.stored()["test_chat"]["workload"]["output_tokens"] == 6
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_other_model(project: Project) -> None:
    project.perf_tests()
    project.record()
    body = project.root.joinpath("test_chat.py").read_text().replace('vllm("sim"', 'vllm("other"')
    project.write("test_chat.py", body)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOT_COMPARABLE  test_chat: model: sim -> other"])


def test_update_new_does_not_replace_it(project: Project) -> None:
    _other_workload(project)
    before = project.files()
    assert project.run("--vllmperf-update-new").ret == pytest.ExitCode.TESTS_FAILED
    assert project.files() == before


def test_sessions_of_several_machines_in_one_entry(project: Project, workers: list[str]) -> None:
    """As a merge by hand may leave them: the newest session alone would fit, the level of all is that of no machine."""
    project.perf_tests()
    project.record()
    content = json.loads(project.baseline().read_text())
    own = content["tests"]["test_chat"]["sessions"]
    other = json.loads(json.dumps(own[0]))
    other["environment"]["hard"] |= {"gpu": "NVIDIA H200", "model": "other"}
    own.insert(0, other)
    project.baseline().write_text(json.dumps(content))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "NOT_COMPARABLE  test_chat: its stored sessions differ in gpu (NVIDIA H200 / none), model (other / sim)",
            "If this is intended, record it again with:",
            "    pytest --vllmperf-update *test_chat.py::test_chat",
        ]
    )


def test_engine_arguments_are_what_a_baseline_is_for(project: Project) -> None:
    project.perf_tests(max_num_seqs=256)
    project.record()
    project.perf_tests(max_num_seqs=128)
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_changed_local_model_is_told_by_its_files(project: Project, workers: list[str]) -> None:
    folder = project.root / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for number in (1, 2):
        (folder / f"model-{number}.safetensors").write_bytes(b"0" * 100)
    project.perf_tests()
    body = (project.root / "test_chat.py").read_text().replace('vllm("sim"', f'vllm("{folder}"')
    project.write("test_chat.py", body)
    project.record(*workers)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "model-2.safetensors").write_bytes(b"0" * 200)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOT_COMPARABLE  test_chat: model files changed: config.json, model-2.safetensors"])
