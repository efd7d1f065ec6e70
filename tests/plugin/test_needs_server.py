"""What only a server can be sent is refused by an engine in process, in one line, before any engine is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

WHAT_TO_DO = "; mark the test with backend='serve', or pass endpoint=vllmperf.endpoint(...)"
NEEDS = {
    "WORK.at(rate=5)": "its requests are sent on a schedule (poisson arrivals)",
    "WORK.at(rate=5, arrivals='constant')": "its requests are sent on a schedule (constant arrivals)",
    "WORK.at(seconds=2)": "it has a time limit (seconds=2.0)",
    "WORK.streamed(False)": "its answers are not streamed",
    "WORK.over('new')": "each request opens its own connection",
    "WORK.asking(json_schema={'type': 'object'})": "it asks for json_schema",
    "Workload.conversations([[{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}] * 2])": (
        "its requests are turns of conversations"
    ),
}


@pytest.mark.parametrize("work", NEEDS)
def test_measure_refuses_it(project: Project, starts: list[str], work: str) -> None:
    project.perf_tests()
    _refused(project, f"run = vllmperf.measure({work})", f"sim: this workload needs a server, because {NEEDS[work]}")
    assert starts == []


def test_in_a_worker_too(project: Project) -> None:
    words = "sim: this workload needs a server, because its answers are not streamed"
    _refused(project, "run = vllmperf.measure(WORK.streamed(False))", words, "-n", "1")


def test_compare_refuses_it(project: Project, starts: list[str], workers: list[str]) -> None:
    call = "engine = vllmperf.engine('sim', backend='simulated'); vllmperf.compare(engine, engine, WORK.at(rate=5))"
    _refused(project, call, "sim: this workload needs a server, because its requests are sent on a schedule", *workers)
    assert starts == []


def test_find_max_rate_refuses_it(project: Project, starts: list[str], workers: list[str]) -> None:
    call = "vllmperf.find_max_rate(WORK, ttft=1, goodput=0.5)"
    _refused(project, call, "sim: this workload needs a server, because its requests are sent on a schedule", *workers)
    assert starts == []


def test_a_closed_loop_is_sent_in_process(project: Project, workers: list[str]) -> None:
    project.module("""
@pytest.mark.vllm("sim", backend="simulated")
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK.at(concurrency=2)))
""")
    project.record(*workers)


def _refused(project: Project, call: str, words: str, *args: str) -> None:
    project.module(f"""
@pytest.mark.vllm("sim", backend="simulated")
def test_chat(vllmperf):
    {call}
    vllmperf.check(run)
""")
    result = project.run("--vllmperf-update", "-rf", *args)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = [line for line in result.outlines if words in line]
    assert len(told) == 1
    assert told[0].startswith(words)
    assert told[0].endswith(WHAT_TO_DO)
    result.stdout.no_fnmatch_line("*fixture.py*")
    result.stdout.no_fnmatch_line("*Traceback*")
    assert project.files() == {}
