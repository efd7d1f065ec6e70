"""`client.run`: from a job to its result, through client processes and the real reader."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_vllmperf.loadgen import client
from pytest_vllmperf.loadgen.job import Api, Job, Limits, Server
from pytest_vllmperf.records.answers import FAILURES, LoadResult
from tests.loadgen.scripted import NOTHING_LONG, SCRIPT, Scripted, call

ROOT = str(SCRIPT.parents[2])


def test_answers_are_those_of_the_script_in_the_order_of_the_workload(scripted: Scripted) -> None:
    apis = [Api.CHAT, Api.COMPLETIONS]
    calls = [call(n, {"ttft": 0.02, "gap": 0.004}, api=apis[n % 2], tokens=5 + n, stream=n % 3 != 0) for n in range(9)]
    found = client.run(Job(scripted.server, tuple(calls), concurrency=3, processes=2, limits=NOTHING_LONG))
    told = scripted.told()["requests"]
    assert [answer.index for answer in found.answers] == list(range(9))
    assert [answer.output_tokens for answer in found.answers] == [5 + n for n in range(9)]
    assert found.failures == {}
    for answer in found.answers:
        assert answer.first_ns is not None
        assert answer.first_ns >= told[str(answer.index)]["sent"][0]
        assert answer.end_ns >= told[str(answer.index)]["sent"][-1]
    assert found.start_ns == min(answer.due_ns for answer in found.answers)


def test_a_closed_loop_has_a_steady_window_and_its_audit(scripted: Scripted) -> None:
    calls = tuple(call(n, {"ttft": 0.03}) for n in range(8))
    found = client.run(Job(scripted.server, calls, concurrency=2, processes=1, limits=NOTHING_LONG))
    assert max(count for _, count in found.in_flight) == 2
    assert found.in_flight[-1][1] == 0
    assert found.steady_ns is not None
    begin, end = found.steady_ns
    assert found.start_ns < begin < end <= found.in_flight[-1][0]
    assert found.audit.wanted_rate is None
    assert 0 <= found.audit.lag_p50_ns <= found.audit.lag_p99_ns
    assert len(found.audit.processes) == 1
    assert found.audit.processes[0].loop_delay_p99_ns > 0


def test_an_open_loop_has_rates(scripted: Scripted) -> None:
    calls = tuple(call(n, due_ns=n * 5_000_000) for n in range(21))
    found = client.run(Job(scripted.server, calls, processes=1, limits=NOTHING_LONG))
    assert found.audit.wanted_rate == pytest.approx(200)
    assert found.audit.achieved_rate is not None
    assert found.steady_ns is None
    assert {answer.due_ns - found.start_ns for answer in found.answers} == {n * 5_000_000 for n in range(21)}


FAULTS = {
    "die": "cut",
    "half-close": "cut",
    "no-answer": "cut",
    "stall": "stalled",
    "hold": "stalled",
    "500": "status",
    "429": "shed",
    "redirect": "redirect",
    "malformed": "malformed",
    "not-http": "malformed",
    "bad-chunk": "malformed",
    "error-body": "error",
    "error-event": "error",
    "utf8-split": "",
    "comments": "",
    "trailers": "",
    "interim": "",
    "close-idle": "",
}


def test_every_fault_is_counted_by_its_name_and_the_run_ends(scripted: Scripted) -> None:
    calls = tuple(call(n, {"fault": fault, "gap": 0.002}, tokens=8) for n, fault in enumerate(FAULTS))
    limits = Limits(connect=20, stall=1.0, total=60)
    found = client.run(Job(scripted.server, calls, concurrency=4, processes=1, limits=limits))
    assert {fault: answer.failure for fault, answer in zip(FAULTS, found.answers, strict=True)} == FAULTS
    assert found.failures == {name: list(FAULTS.values()).count(name) for name in {*FAULTS.values()} - {""}}
    assert set(found.failures) <= set(FAILURES)
    assert found.answers[list(FAULTS).index("429")].retry_after == 7


@pytest.mark.parametrize("script", [{"split": 1}, {"split": 7, "crlf": True}, {"framing": "close"}, {"keep": False}])
def test_streams_in_any_shape_are_read(scripted: Scripted, script: dict[str, object]) -> None:
    calls = tuple(call(n, script, tokens=6) for n in range(4))
    found = client.run(Job(scripted.server, calls, concurrency=2, processes=1, limits=NOTHING_LONG))
    assert found.failures == {}
    assert [answer.output_tokens for answer in found.answers] == [6] * 4


@pytest.mark.usefixtures("trusted")
def test_tls_is_verified_in_client_processes(tls_server: Scripted) -> None:
    calls = tuple(call(n) for n in range(3))
    job = Job(replace(tls_server.server, tls=True), calls, concurrency=1, processes=1, limits=NOTHING_LONG)
    assert client.run(job).failures == {}


def test_an_untrusted_certificate_fails_each_request(tls_server: Scripted) -> None:
    job = Job(replace(tls_server.server, tls=True), (call(0), call(1)), concurrency=1, limits=NOTHING_LONG)
    assert client.run(job).failures == {"tls": 2}


def test_a_proxy_of_the_environment_is_ignored_and_said(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    job = Job(scripted.server, (call(0),), concurrency=1, limits=NOTHING_LONG)
    assert client.run(job).notes == ()
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")
    found = client.run(job)
    assert found.failures == {}
    assert found.notes == ("HTTP_PROXY: ignored, requests go to the server directly",)


def test_no_calls_are_a_result_without_answers() -> None:
    assert client.run(Job(Server("127.0.0.1", 1), ())).answers == ()


LIMITED = """
import json, resource, sys
sys.path.insert(0, {root!r})
resource.setrlimit(resource.RLIMIT_NOFILE, {limit})
from pytest_vllmperf.loadgen import client
from pytest_vllmperf.loadgen.job import Job, Server
from tests.loadgen.scripted import NOTHING_LONG, call
calls = tuple(call(n, {{"ttft": {ttft}}}, due_ns=0) for n in range({count}))
found = client.run(Job(Server("127.0.0.1", {port}), calls, processes=1, limits=NOTHING_LONG))
details = sorted({{answer.detail for answer in found.answers}})
print(json.dumps([len(found.answers), found.failures, found.notes, details]))
"""


def limited(
    scripted: Scripted, count: int, limit: tuple[int, int], ttft: float
) -> tuple[int, dict[str, int], list[str], list[str]]:
    """What comes of so many streams at once with so many descriptors."""
    program = LIMITED.format(root=ROOT, limit=limit, count=count, port=scripted.port, ttft=ttft)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))  # type: ignore[return-value]


def test_ten_thousand_streams_with_1024_descriptors_are_counted(scripted: Scripted) -> None:
    answers, failures, notes, details = limited(scripted, 10_000, (1024, 1024), 2.0)
    assert answers == 10_000
    assert set(failures) == {"connect"}
    assert 10_000 - 1024 < failures["connect"] < 10_000 - 900
    (reason,) = [detail for detail in details if detail]
    assert reason.startswith("a client process may have ")
    assert notes == [f"requests without a connection: {failures['connect']}; {reason}"]


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(scripted: Scripted) -> None:
    answers, failures, notes, _ = limited(
        scripted, 300, (128, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])), 0.5
    )
    assert (answers, failures, notes) == (300, {}, [])


def test_raw_bytes_above_the_budget_are_read_while_others_run(scripted: Scripted) -> None:
    from pytest_vllmperf.loadgen import processes

    calls = tuple(call(n, {"gap": 0.001}, tokens=20) for n in range(40))
    job = Job(scripted.server, calls, concurrency=4, processes=1, limits=NOTHING_LONG)
    start, found = processes.run_shares(processes.shares(job, 1), lambda _: None, budget=1)
    result: LoadResult = client.result(job, start, found)
    assert [answer.output_tokens for answer in result.answers] == [20] * 40
