from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.records.spec import EngineSpec

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LINES = {
    "load": "*the simulated engine refused sim: scripted failure",
    "run": "*sim: the engine process was ended by SIGKILL during run",
}


@pytest.mark.parametrize("fail", LINES)
def test_one_line_and_the_end_of_the_log(project: Project, fail: str) -> None:
    project.perf_tests(fail=fail)
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([LINES[fail], "*- end of the engine's log -*", "scripted log"])
    for trace in ("Traceback", "simulated.py", "slots.py", "fixture.py", "def test_chat"):
        assert trace not in result.stdout.str()


@pytest.mark.parametrize("fail", LINES)
def test_other_tests_go_on(project: Project, fail: str) -> None:
    project.perf_tests("test_dies", fail=fail, module="test_dies.py")
    project.perf_tests("test_lives")
    project.run("--vllmperf-update").assert_outcomes(passed=1, failed=1)
    assert list(project.files()) == ["simulated/test_chat.json"]


def test_xdist(project: Project) -> None:
    project.perf_tests("test_load", fail="load", module="test_load.py")
    project.perf_tests("test_run", fail="run", module="test_run.py")
    project.perf_tests("test_lives")
    result = project.run("--vllmperf-update", "-n", "2")
    result.assert_outcomes(passed=1, failed=2)
    for line in LINES.values():
        result.stdout.fnmatch_lines([line])
    assert result.stdout.str().count("scripted log") == 2
    assert "simulated.py" not in result.stdout.str()
    assert list(project.files()) == ["simulated/test_chat.json"]


def test_the_next_test_gets_a_fresh_engine(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[SimulatedEngine] = []
    killed: list[SimulatedEngine] = []

    class DiesOnce(SimulatedEngine):
        def __init__(self, spec: EngineSpec, number: int = 0) -> None:
            first = not started
            super().__init__(spec.with_args(fail="run" if first else ""))
            started.append(self)

        def kill(self) -> None:
            killed.append(self)

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", DiesOnce)
    project.perf_tests("test_dies", "test_next", "test_last")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=2, failed=1)
    assert len(started) == 4
    assert killed == started[:1]
    assert sorted(project.stored()) == ["test_last", "test_next"]


def test_a_workload_that_does_not_fit_leaves_the_engine_alive(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        started.append(spec.model)
        return SimulatedEngine(spec, number)

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", start)
    project.module("""
pytestmark = pytest.mark.vllm("sim", backend="simulated", max_model_len=20)

@pytest.mark.parametrize("make", [
    lambda: Workload.synthetic(requests=1, input_tokens=18, output_tokens=5),
    lambda: Workload.prompts(["word " * 18], output_tokens=5),
])
def test_long(vllmperf, make):
    vllmperf.measure(make())

def test_short(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=2, passed=1)
    assert started == ["sim"]
    result.stdout.fnmatch_lines(["*18 prompt + 5 output tokens, more than max_model_len=20"])
    result.stdout.fnmatch_lines(["*23 tokens, more than max_model_len=20"])
    for trace in ("measure.py", "simulated.py"):
        assert trace not in result.stdout.str()


def test_a_failure_in_a_fixture_of_the_tests_is_one_line_too(project: Project) -> None:
    project.module("""
@pytest.fixture
def run(vllmperf):
    return vllmperf.measure(WORK)

@pytest.mark.vllm("sim", backend="simulated", fail="load")
def test_run(run): pass
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([LINES["load"], "*- end of the engine's log -*", "scripted log"])
    result.stdout.no_fnmatch_line("*fixture.py*")


def test_a_test_may_expect_it(project: Project) -> None:
    project.module("""
from pytest_vllmperf import VllmPerfError

@pytest.mark.vllm("sim", backend="simulated", fail="load")
def test_refused(vllmperf):
    with pytest.raises(VllmPerfError, match="refused"):
        vllmperf.measure(WORK)
""")
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_users_own_error_keeps_its_traceback(project: Project) -> None:
    project.perf_tests(check="raise ValueError('mine')")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*def test_chat(vllmperf):", "E * ValueError: mine"])
