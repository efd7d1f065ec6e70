"""Client processes: how many, what each gets, and that none outlives its run."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from pytest_vllmperf.errors import EngineError, WorkloadError
from pytest_vllmperf.loadgen import processes
from pytest_vllmperf.loadgen.job import Api, Call, Job, Server
from tests.engines.conftest import is_gone, wait_until_gone
from tests.loadgen.scripted import NOTHING_LONG, SCRIPT, Scripted, call

STAND_IN = "tests.loadgen.stand_in"
ROOT = str(SCRIPT.parents[2])


def made(count: int, **given: object) -> Job:
    calls = tuple(Call(n, b"", b"", Api.CHAT, output_tokens=100) for n in range(count))
    return Job(Server("localhost", 1), calls, **given)  # type: ignore[arg-type]


def indices(parts: list[Job]) -> list[list[int]]:
    return [[one.index for one in part.calls] for part in parts]


def clients() -> list[psutil.Process]:
    """Client processes of this one that run."""
    return [child for child in psutil.Process().children() if "pytest_vllmperf.loadgen" in " ".join(child.cmdline())]


def test_calls_are_dealt_out_in_turn_and_places_are_split() -> None:
    parts = processes.shares(made(7, concurrency=5), 2)
    assert indices(parts) == [[0, 2, 4, 6], [1, 3, 5]]
    assert [part.concurrency for part in parts] == [3, 2]


def test_an_open_loop_is_dealt_out_without_places() -> None:
    parts = processes.shares(made(5), 3)
    assert indices(parts) == [[0, 3], [1, 4], [2]]
    assert {part.concurrency for part in parts} == {None}


def test_the_turns_of_a_conversation_stay_together() -> None:
    job = made(6)
    after = {2: 0, 3: 1, 4: 2}
    job = replace(job, calls=tuple(replace(one, after=after.get(one.index)) for one in job.calls))
    assert indices(processes.shares(job, 2)) == [[0, 2, 4, 5], [1, 3]]


def test_there_are_no_more_processes_than_places_or_calls() -> None:
    assert len(processes.shares(made(9, concurrency=2), 8)) == 2
    assert len(processes.shares(made(1), 8)) == 1
    turns = replace(
        made(4), calls=tuple(replace(one, after=one.index - 2) if one.index > 1 else one for one in made(4).calls)
    )
    assert [part.concurrency for part in processes.shares(replace(turns, concurrency=8), 4)] == [4, 4]
    assert processes.shares(made(0), 8) == []


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_call_that_follows_none_before_it_is_refused(after: int) -> None:
    job = made(2)
    job = replace(job, calls=(replace(job.calls[0], after=after), job.calls[1]))
    with pytest.raises(WorkloadError, match=f"^request 0 follows request {after}, which is not before it$"):
        processes.shares(job, 1)


def at_rate(rate: int, tokens: int, stream: bool = True) -> Job:
    calls = tuple(
        Call(n, b"", b"", Api.CHAT, stream, n * 10**9 // rate, output_tokens=tokens) for n in range(10 * rate)
    )
    return Job(Server("localhost", 1), calls)


def test_processes_are_as_many_as_the_expected_work_needs_and_never_more_than_cores() -> None:
    assert processes.needed(at_rate(8, 100), 64) == 1
    few, many = (processes.needed(at_rate(rate, 400), 64) for rate in (200, 800))
    assert 1 < few < many <= 4 * few
    assert processes.needed(at_rate(800, 400), 3) == 3
    assert processes.needed(at_rate(200, 400, stream=False), 64) == 1
    assert processes.needed(made(500, concurrency=64), 64) == 1
    assert processes.needed(made(5000, concurrency=2000), 64) > 4


def test_as_many_as_asked_for_and_never_more_than_cores() -> None:
    assert processes.needed(made(9, processes=3), 4) == 3
    assert processes.needed(made(9, processes=9), 4) == 4
    assert processes.needed(made(0), 4) == 1


def test_keys_and_proxies_of_the_environment_are_not_handed_on() -> None:
    ours = {
        "PATH": "/bin",
        "OPENAI_API_KEY": "sk-1",
        "https_proxy": "http://u:p@h",
        "SSL_CERT_FILE": "/c",
        "LC_ALL": "C",
    }
    assert processes.environment(ours) == {"PATH": "/bin", "SSL_CERT_FILE": "/c", "LC_ALL": "C"}


def job_of(scripted: Scripted, count: int, ttft: float, **given: object) -> Job:
    calls = tuple(call(n, {"ttft": ttft}) for n in range(count))
    return Job(scripted.server, calls, limits=NOTHING_LONG, **given)  # type: ignore[arg-type]


def test_several_processes_share_one_start_and_send_everything(scripted: Scripted) -> None:
    parts = processes.shares(job_of(scripted, 9, 0.01, concurrency=4), 2)
    start_ns, found = processes.run_shares(parts, lambda _: None, STAND_IN)
    assert [sorted(answer.index for answer in one.answers) for one in found] == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
    for one in found:
        assert min(answer.due_ns for answer in one.answers) == start_ns
        assert len(one.lags_ns) == len(one.answers)
        assert one.process is not None
        assert one.process.cpu_share > 0
    assert {answer.status for one in found for answer in one.answers} == {200}
    assert clients() == []


class Stop(Exception):  # noqa: N818
    """Raised by a test's own tick."""


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_what_a_tick_raises_ends_all_processes_at_once(scripted: Scripted, error: type[BaseException]) -> None:
    seen: list[psutil.Process] = []

    def tick(_: float) -> None:
        seen.extend(clients())
        raise error

    parts = processes.shares(job_of(scripted, 4, 30), 2)
    with pytest.raises(error):
        processes.run_shares(parts, tick, STAND_IN)
    assert len(seen) == 2
    assert all(is_gone(process.pid) for process in seen)


def test_ticks_tell_the_time_since_the_start(scripted: Scripted) -> None:
    told: list[float] = []
    processes.run_shares(processes.shares(job_of(scripted, 1, 0.8), 1), told.append, STAND_IN)
    assert len(told) >= 2
    assert told == sorted(told)
    assert told[0] > 0


def during(scripted: Scripted, act: Callable[[psutil.Process], None]) -> None:
    """Run a job and do something to its client process."""
    done: list[bool] = []

    def tick(_: float) -> None:
        if not done:
            done.append(True)
            act(clients()[0])

    processes.run_shares(processes.shares(job_of(scripted, 2, 1.0), 1), tick, STAND_IN)


def test_nothing_of_a_request_is_on_the_command_line_or_in_the_environment(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVED_API_KEY", "sk-scripted")
    seen: list[str] = []
    during(scripted, lambda client: seen.extend([*client.cmdline(), *client.environ().values()]))
    assert seen
    assert not [word for word in seen if word == "sk-scripted" or "POST" in word]


def test_a_process_that_is_killed_is_an_error_that_says_so(scripted: Scripted) -> None:
    with pytest.raises(EngineError, match=r"^a process of the load generator exited before .* by signal 9$"):
        during(scripted, lambda client: client.kill())
    assert clients() == []


def test_a_failure_of_the_load_generator_itself_is_an_error_with_its_words(scripted: Scripted) -> None:
    parts = processes.shares(job_of(scripted, 2, 0), 1)
    with pytest.raises(EngineError, match=r"failed: No module named 'tests.loadgen.no_such'; run: .*\[serve\]'$"):
        processes.run_shares(parts, lambda _: None, "tests.loadgen.no_such")
    with pytest.raises(EngineError, match=r"failed: TypeError: .*positional argument") as caught:
        processes.run_shares(parts, lambda _: None, "tests.loadgen.bad_reader")
    assert "bad_reader" not in str(caught.value)
    assert "TypeError" in caught.value.log_tail


def test_a_run_can_be_made_in_a_thread_of_its_own(scripted: Scripted) -> None:
    found: list[int] = []

    def measure() -> None:
        _, collected = processes.run_shares(processes.shares(job_of(scripted, 2, 0.3), 1), lambda _: None, STAND_IN)
        found.extend(answer.status or 0 for answer in collected[0].answers)

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert found == [200, 200]


PARENT = """
import sys
sys.path.insert(0, {root!r})
from pytest_vllmperf.loadgen import processes
from pytest_vllmperf.loadgen.job import Job, Server
from tests.loadgen.scripted import call
calls = tuple(call(n, {{"ttft": 60}}) for n in range(2))
def tick(_):
    import psutil
    print([child.pid for child in psutil.Process().children()][0], flush=True)
processes.run_shares([Job(Server("127.0.0.1", {port}), calls)], tick, "tests.loadgen.stand_in")
"""


def test_a_client_process_dies_with_its_parent(scripted: Scripted) -> None:
    program = PARENT.format(root=ROOT, port=scripted.port)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    client = int(parent.stdout.readline())
    assert not is_gone(client)
    parent.kill()
    parent.communicate()
    wait_until_gone(client)
