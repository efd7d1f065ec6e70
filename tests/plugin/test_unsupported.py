"""An engine that the build or the GPU cannot run: a test fails for it, or is skipped where its marker says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineUnsupportedError
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

REASON = "sim: no kernel of this build runs fp8 on compute 8.0"
SKIP = '@pytest.mark.vllmperf(unsupported="skip")'
# The seed of an engine that is not supported.
OLD = 7
CONFTEST = f"""
import os

if os.environ.get("PYTEST_XDIST_WORKER"):
    from pytest_vllmperf.engines import simulated
    from pytest_vllmperf.errors import EngineUnsupportedError

    def start(spec, number=0, start=simulated.SimulatedEngine):
        if spec.args.get("seed") == {OLD}:
            raise EngineUnsupportedError({REASON!r})
        return start(spec, number)

    simulated.SimulatedEngine = start
"""


@pytest.fixture(params=["start", "run"])
def moment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """When an engine with the seed `OLD` says that it is not supported."""

    class Unsupported(SimulatedEngine):
        def __init__(self, spec: EngineSpec, number: int = 0) -> None:
            super().__init__(spec, number)
            self._refuse("start")

        def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
            self._refuse("run")
            return super().run(requests, sampling)

        def _refuse(self, now: str) -> None:
            if now == request.param and self.spec.args.get("seed") == OLD:
                raise EngineUnsupportedError(REASON, "what the engine wrote")

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", Unsupported)
    return str(request.param)


def test_it_is_skipped_with_the_reason(project: Project, moment: str) -> None:
    project.perf_tests("test_old", "test_older", marks=[SKIP], seed=OLD)
    project.perf_tests("test_new", marks=[SKIP], module="test_new.py", check="assert run.ttft.p50 > 0")
    result = project.run("--vllmperf", "-rs", "-vv")
    result.assert_outcomes(skipped=2, passed=1)
    assert result.ret == pytest.ExitCode.OK
    for line in (6, 12):  # where the tests stand, not where the plugin skips
        result.stdout.fnmatch_lines([f"SKIPPED [[]1[]] test_chat.py:{line}: {REASON}"])
    assert "what the engine wrote" not in result.stdout.str()


def test_without_the_marker_it_fails_in_a_line(project: Project, moment: str) -> None:
    project.perf_tests(seed=OLD)
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*_ test_chat _*", REASON, "*- end of the engine's log -*", "what the engine wrote"])
    for trace in ("Traceback", "fixture.py", "slots.py", "def test_chat", "EngineUnsupportedError: "):
        assert trace not in result.stdout.str().partition("short test summary")[0]


def test_fail_is_what_it_does_anyway(project: Project, moment: str) -> None:
    project.perf_tests(marks=['@pytest.mark.vllmperf(unsupported="fail")'], seed=OLD)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([REASON])


def test_other_failures_are_never_skipped(project: Project) -> None:
    project.perf_tests("test_load", marks=[SKIP], fail="load")
    project.perf_tests("test_run", marks=[SKIP], fail="run", module="test_run.py")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["the simulated engine refused sim: scripted failure"])


def test_the_engine_of_a_test_that_was_skipped_is_not_used_again(project: Project, moment: str) -> None:
    project.perf_tests("test_old", marks=[SKIP], seed=OLD)
    project.perf_tests("test_new", module="test_new.py")
    project.run("--vllmperf-update").assert_outcomes(skipped=1, passed=1)
    assert list(project.files()) == ["simulated/test_new.json"]


def test_a_skipped_test_keeps_the_baseline_that_there_was(
    project: Project, monkeypatch: pytest.MonkeyPatch, workers: list[str]
) -> None:
    project.perf_tests(marks=[SKIP], seed=OLD)
    project.record()
    before = project.files()
    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", _refuse)
    project.write("conftest.py", CONFTEST)
    result = project.run("--vllmperf-update", "-rs", *workers)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED [[]1[]] *: {REASON}"])
    assert project.files() == before


def _refuse(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
    raise EngineUnsupportedError(REASON)


def test_either_side_of_a_comparison(project: Project, moment: str) -> None:
    body = """
{mark}
@pytest.mark.parametrize("seeds", [(0, {old}), ({old}, 0)])
@pytest.mark.parametrize("way", ["resident", "restart"])
def test_faster(vllmperf, seeds, way):
    a, b = (vllmperf.engine(str(seed), backend="simulated", seed=seed) for seed in seeds)
    vllmperf.compare(a, b, WORK, way=way)
"""
    project.module(body.format(mark=SKIP, old=OLD))
    result = project.run("--vllmperf", "-rs")
    result.assert_outcomes(skipped=4)
    result.stdout.fnmatch_lines([f"SKIPPED [[]4[]] *: {REASON}"])
    project.module(body.format(mark="", old=OLD))
    project.run("--vllmperf").assert_outcomes(failed=4)


def test_a_card_is_made_of_what_could_run(project: Project, moment: str) -> None:
    project.module(f"""
@pytest.mark.scorecard("formats", baseline="full")
{SKIP}
@pytest.mark.parametrize("seed", [pytest.param(0, id="full"), pytest.param({OLD}, id="old")])
def test_format(vllmperf, seed):
    vllmperf.measure(WORK, engine=vllmperf.engine("sim", backend="simulated", seed=seed))
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1, skipped=1)
    assert sum(line.startswith("full ") for line in result.outlines) == 2
    result.stdout.no_fnmatch_line("old *")


@pytest.mark.parametrize("word", ["'maybe'", "True", "''"])
def test_another_word_is_refused(project: Project, word: str) -> None:
    project.perf_tests(marks=[f"@pytest.mark.vllmperf(unsupported={word})"])
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wrong = f"unsupported: {word} is not valid; choose one of fail, skip"
    line = f"ERROR: test_chat.py:6: test_chat.py::test_chat: @pytest.mark.vllmperf: {wrong}"
    assert [line for line in result.errlines if line] == [line]
    assert project.files() == {}


def test_a_check_before_the_skip_counts(project: Project, moment: str) -> None:
    """It is settled: an engine that cannot run here must not hide a slowdown of one that can."""
    project.perf_tests()
    project.record()
    second = f"vllmperf.measure(WORK, engine=vllmperf.engine('sim', backend='simulated', seed={OLD}))"
    project.perf_tests(marks=[SKIP], check=f"vllmperf.check(run); {second}", step_seconds=0.02)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED output throughput *"])
