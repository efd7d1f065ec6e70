"""`backend=`: one that does not exist is refused in one line, wherever a spec is read, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LINE = "backend='fast' does not exist; choose one of offline, transformers, serve, endpoint, simulated"


def _refused(project: Project, starts: list[str], body: str, *args: str) -> None:
    project.module(f"""
from pytest_vllmperf import EngineSpec

def test_chat(vllmperf):
    sim = vllmperf.engine("sim", backend="simulated")
    {body}
""")
    result = project.run("--vllmperf", "--tb=long", *args)
    result.assert_outcomes(failed=1)
    assert LINE in result.outlines
    for trace in ("Traceback", "fixture.py", "backends.py"):
        assert trace not in result.stdout.str()
    assert starts == []


@pytest.mark.parametrize(
    "body",
    [
        "vllmperf.engine('m', backend='fast')",
        "vllmperf.measure(WORK, engine=EngineSpec.create('m', backend='fast'))",
        "vllmperf.compare(sim, EngineSpec.create('m', backend='fast'), WORK)",
        "vllmperf.compare(EngineSpec.create('m', backend='fast'), sim, WORK)",
    ],
)
def test_in_a_call(project: Project, starts: list[str], workers: list[str], body: str) -> None:
    _refused(project, starts, body, *workers)


def test_in_a_marker(project: Project, starts: list[str]) -> None:
    project.module("""
@pytest.mark.vllm("m", backend="fast")
def test_chat(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = f"ERROR: test_chat.py:7: test_chat.py::test_chat: @pytest.mark.vllm: {LINE}"
    assert [found for found in result.errlines if found] == [line]
    assert starts == []


def test_arguments_that_cannot_be_measured_are_refused_before_anything_starts(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("m", disable_log_stats=True)
def test_chat(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: test_chat.py:7: test_chat.py::test_chat: @pytest.mark.vllm: disable_log_stats=True removes *"]
    )
