from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _measured(entry: dict[str, Any]) -> object:
    """An entry without its time; the simulated clock runs on from test to test, which costs the last digits."""
    (session,) = entry["sessions"]
    engines = [
        ({name: [f"{value:.5g}" for value in values] for name, values in engine["samples"].items()}, engine["once"])
        for engine in session["engines"]
    ]
    assert len(engines) == 3
    # under xdist another test may have started the first engine, or this one
    return entry["engine"], entry["workload"], session["environment"], engines[1:]


def test_records_what_ran(project: Project) -> None:
    project.perf_tests("test_a", "test_b")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["test_a  RECORDED*", "test_b  RECORDED*", "written: baselines/simulated/test_chat.json"]
    )
    assert sorted(project.stored()) == ["test_a", "test_b"]
    assert sorted(project.files()) == ["simulated/test_chat.json"]


def test_xdist_records_the_same(project: Project) -> None:
    project.perf_tests("test_a", "test_b")
    project.perf_tests("test_c", module="sub/test_deep.py")
    found = []
    for workers in ([], ["-n", "2"]):
        project.record(*workers)
        assert sorted(project.files()) == ["simulated/sub/test_deep.json", "simulated/test_chat.json"]
        entries = project.stored() | project.stored("sub/test_deep")
        found.append({name: _measured(entry) for name, entry in entries.items()})
    assert sorted(found[0]) == ["test_a", "test_b", "test_c"]
    assert found[0] == found[1]


def test_file_is_made_for_review(project: Project) -> None:
    project.perf_tests("test_b", "test_a")
    project.record()
    text = project.baseline().read_text()
    content = json.loads(text)
    assert (content["schema"], content["version"]) == ("pytest-vllmperf/baseline", 6)
    assert text.endswith("}\n")
    assert text.index('"test_a"') < text.index('"test_b"')
    keys = list(content["tests"]["test_a"])
    assert keys == sorted(keys)
    assert any(line.strip().startswith('"output_throughput": [') for line in text.splitlines())


def test_replaces_what_was_recorded(project: Project) -> None:
    project.perf_tests()
    project.record()
    fast = project.engine()["samples"]["output_throughput"]
    project.perf_tests(step_seconds=0.02)
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=1)
    assert project.engine()["samples"]["output_throughput"][0] < fast[0]
    assert len(project.stored()["test_chat"]["sessions"]) == 1
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_leaves_what_did_not_run(project: Project) -> None:
    project.perf_tests("test_a", "test_b")
    project.record()
    before = project.stored()["test_b"]
    project.perf_tests("test_a", "test_b", step_seconds=0.02)
    project.record("-k", "test_a")
    assert project.stored()["test_b"] == before
    assert project.stored()["test_a"]["engine"] == "sim step_seconds=0.02"


def test_a_failing_test_records_nothing(project: Project) -> None:
    project.perf_tests("test_a")
    project.record()
    before = project.files()
    project.perf_tests("test_a", check="vllmperf.check(run); assert run.ttft.p99 < 0", step_seconds=0.02)
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.files() == before


def test_other_tests_are_recorded_beside_a_failing_one(project: Project) -> None:
    project.perf_tests("test_a")
    project.module("def test_wrong(): assert False\n", "test_wrong.py")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=1, failed=1)
    assert list(project.stored()) == ["test_a"]


@pytest.mark.parametrize("body", ["vllmperf.check(run); yield", "yield; vllmperf.check(run)"], ids=["before", "after"])
def test_a_check_inside_a_fixture_is_recorded(project: Project, body: str) -> None:
    project.module(f"""
@pytest.fixture
def checked(vllmperf):
    run = vllmperf.measure(WORK)
    {body}

@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_fixture(checked): pass
""")
    project.record()
    assert list(project.stored()) == ["test_fixture"]


def test_classes_and_parameters_keep_their_names(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
class TestSizes:
    @pytest.mark.parametrize("size", [1, 2])
    def test_size(self, vllmperf, size):
        vllmperf.check(vllmperf.measure(WORK))
""")
    project.record()
    assert sorted(project.stored()) == ["TestSizes::test_size[1]", "TestSizes::test_size[2]"]
    project.run("--vllmperf").assert_outcomes(passed=2)


def test_one_update_at_a_time(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf-update", "--vllmperf-update-new")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *--vllmperf-update-new*"])
    assert project.files() == {}


def test_collect_only_records_nothing(project: Project) -> None:
    project.perf_tests()
    assert project.run("--vllmperf-update", "--collect-only").ret == pytest.ExitCode.OK
    assert project.files() == {}
