"""An interpreter's server process and the engines that it forks: real processes, with a stand-in for vLLM."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf.engines import forkserver
from pytest_vllmperf.engines.channel import ChannelClosed
from pytest_vllmperf.engines.endings import OomKills
from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.offline import VLLM
from pytest_vllmperf.errors import EngineStartError
from tests.engines.conftest import LONG, is_gone, wait_until_gone
from tests.engines.fork_servers import CHILD, READY, Open, modules, nothing, open_server, script, server
from tests.faults import many_open_files

__all__ = ["modules", "open_server", "server"]


def test_an_engine_process_answers_and_is_told_when_it_ends(server: ForkServer, tmp_path: Path) -> None:
    child = server.fork("scripted_child", tmp_path / "child.log")
    child.channel.send({"op": "echo", "word": "hello"}, LONG)
    answer = child.channel.receive(LONG)
    assert answer == {"ok": {"word": "hello"}, "pid": child.pid, "group": child.pid}
    assert child.exit_code is None
    child.channel.close()  # the end of its input
    assert server.wait_exit(child, LONG)
    assert child.exit_code == 0
    assert "child is up" in (tmp_path / "child.log").read_text()


@pytest.mark.parametrize(("op", "code"), [("kill", -signal.SIGKILL), ("exit", 7), ("raise", 1)])
def test_how_an_engine_process_ended_is_told(server: ForkServer, tmp_path: Path, op: str, code: int) -> None:
    child = server.fork("scripted_child", tmp_path / "child.log")
    child.channel.send({"op": op}, LONG)
    with pytest.raises(ChannelClosed):
        child.channel.receive(LONG)
    assert server.wait_exit(child, LONG)
    assert child.exit_code == code
    assert ("the child's own words" in (tmp_path / "child.log").read_text()) == (op == "raise")
    child.channel.close()


def test_children_are_told_apart(server: ForkServer, tmp_path: Path) -> None:
    first, second = (server.fork("scripted_child", tmp_path / f"{n}.log") for n in (1, 2))
    second.channel.send({"op": "exit"}, LONG)
    assert server.wait_exit(second, LONG)
    assert (first.exit_code, second.exit_code) == (None, 7)
    third = server.fork("scripted_child", tmp_path / "3.log")
    for child in (first, third):
        child.channel.send({"op": "echo"}, LONG)
        assert child.channel.receive(LONG)["pid"] == child.pid
    first.channel.send({"op": "exit"}, LONG)
    fourth = server.fork("scripted_child", tmp_path / "4.log")  # its end may be told before this start
    assert server.wait_exit(first, LONG)
    for child in (first, second, third, fourth):
        child.channel.close()


def test_waiting_for_a_process_that_runs_on_is_in_vain(server: ForkServer, tmp_path: Path) -> None:
    child = server.fork("scripted_child", tmp_path / "child.log")
    assert not server.wait_exit(child, 0.02)
    assert child.exit_code is None
    child.channel.close()


@pytest.mark.parametrize("op", ["spawn", "fork"])
def test_what_an_engine_process_started_ends_with_it(server: ForkServer, tmp_path: Path, op: str) -> None:
    child = server.fork("scripted_child", tmp_path / "child.log")
    child.channel.send({"op": op}, LONG)
    grandchild = child.channel.receive(LONG)["ok"]
    assert not is_gone(grandchild)
    child.channel.send({"op": "kill"}, LONG)
    assert server.wait_exit(child, LONG)
    wait_until_gone(grandchild)
    child.channel.close()


def test_close_ends_every_engine(server: ForkServer, tmp_path: Path) -> None:
    children = [server.fork("scripted_child", tmp_path / f"{n}.log") for n in (1, 2)]
    server.close()
    for child in children:
        wait_until_gone(child.pid)
        child.channel.close()


# Prints the process ids, then waits to be killed; or measures in a thread that has ended by then.
PARENT = """
import os, signal, sys, threading, time
from pathlib import Path
from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.offline import VLLM

pids = []

def start():
    folder = Path(sys.argv[1], "parent")
    folder.mkdir()
    server = ForkServer(sys.executable, VLLM, {"PYTHONPATH": sys.argv[2]}, folder)
    pids.append(server._process.pid)
    if sys.argv[3] == "importing":
        while not Path(sys.argv[1], "importing").exists():
            time.sleep(0.01)
        return
    server.wait_ready(60, lambda _: None)
    child = server.fork("scripted_child", Path(sys.argv[1], "child.log"))
    child.channel.send({"op": "spawn"}, 60)
    pids.extend([child.pid, child.channel.receive(60)["ok"]])
    if sys.argv[3] == "loading":
        child.channel.send({"op": "load"}, 60)
        child.channel.receive(60)
    kept.append((server, child))

kept = []
if sys.argv[4] == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.5)  # a signal for the thread's end would have come by now
    assert all(os.path.exists(f"/proc/{pid}/exe") for pid in pids), "ended with the thread"
    if sys.argv[3] == "up":
        server, child = kept[0]
        child.channel.send({"op": "echo"}, 60)
        assert child.channel.receive(60)["pid"] == child.pid
else:
    start()
print(*pids, flush=True)
signal.pause()
"""
# Busy in C code that holds the interpreter's lock: no thread of the process could notice anything.
DEAF_IMPORT = "import ctypes\nopen({!r}, 'w').close()\nctypes.PyDLL(None).sleep(600)\nLLM = None\n"
DEAF_LOAD = """
        elif op == "load":
            lines.send({"ok": None})
            import ctypes
            ctypes.PyDLL(None).sleep(600)
"""


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("phase", ["importing", "loading", "up"])
def test_nothing_outlives_a_parent_that_was_killed(tmp_path: Path, modules: Path, phase: str, where: str) -> None:
    if phase == "importing":
        (modules / "vllm.py").write_text(DEAF_IMPORT.format(str(tmp_path / "importing")))
    (modules / "scripted_child.py").write_text(CHILD + DEAF_LOAD.strip("\n"))
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(modules), phase, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == (1 if phase == "importing" else 3)
        assert not any(map(is_gone, pids))
        parent.kill()
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5)
        assert not [process for process in alive if not is_gone(process.pid)]


def test_with_more_open_files_than_select_takes(open_server: Open, tmp_path: Path) -> None:
    with many_open_files():
        server = open_server()
        server.wait_ready(LONG, nothing)
        child = server.fork("scripted_child", tmp_path / "child.log")
        child.channel.send({"op": "echo"}, LONG)
        assert child.channel.receive(LONG)["pid"] == child.pid
        child.channel.send({"op": "exit"}, LONG)
        assert server.wait_exit(child, LONG)
        child.channel.close()
        server.close()


def test_a_log_that_cannot_be_written_is_told(server: ForkServer, tmp_path: Path) -> None:
    with pytest.raises(EngineStartError) as caught:
        server.fork("scripted_child", Path("/dev/full"))
    assert str(caught.value) == (
        "/dev/full cannot be written: No space left on device; set TMPDIR to a folder with free space"
    )
    with pytest.raises(EngineStartError, match=r"none/child.log cannot be written: No such file or directory"):
        server.fork("scripted_child", tmp_path / "none" / "child.log")
    folder = tmp_path / "elsewhere"
    with pytest.raises(EngineStartError, match=r"none/server-elsewhere.log cannot be written"):
        ForkServer(sys.executable, VLLM, {}, tmp_path / "none" / folder.name)


def test_no_descriptor_is_left_open_where_there_are_too_few(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    pipe, made = os.pipe, []

    def second_fails() -> tuple[int, int]:
        made.append(1)
        if len(made) == 2:
            raise OSError(24, "Too many open files")
        return pipe()

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", second_fails)
        with pytest.raises(EngineStartError, match=r"the engine process could not be started: .*Too many open files"):
            server.fork("scripted_child", tmp_path / "child.log")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_server_that_was_given_up_is_not_blamed_on_memory(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = server.fork("scripted_child", tmp_path / "child.log")
    monkeypatch.setattr(forkserver, "_FORK_TIMEOUT_S", 0.02)
    os.kill(server._process.pid, signal.SIGSTOP)
    with pytest.raises(EngineStartError, match="did not fork an engine within"):
        server.fork("scripted_child", tmp_path / "other.log")
    wait_until_gone(child.pid)
    said = server.ending(child, "run", OomKills(0, None))
    assert said == "ended during run with its server process, which did not answer and was stopped"
    child.channel.close()


def test_a_stopped_server_is_not_waited_for_without_end(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "_FORK_TIMEOUT_S", 0.02)
    monkeypatch.setattr(forkserver, "_END_TIMEOUT_S", 0.02)
    os.kill(server._process.pid, signal.SIGSTOP)
    server._control.setblocking(False)
    with suppress(BlockingIOError):  # no room is left for a request
        while True:
            server._control.send(b"{}")
    with pytest.raises(EngineStartError, match="the engine process could not be started: timed out"):
        server.fork("scripted_child", tmp_path / "child.log")
    server.close()
    wait_until_gone(server._process.pid)


def test_a_server_that_is_gone_starts_no_engine(server: ForkServer, tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    os.kill(server._process.pid, signal.SIGKILL)
    wait_until_gone(server._process.pid)
    with pytest.raises(EngineStartError, match="the engine process could not be started") as caught:
        server.fork("scripted_child", tmp_path / "child.log")
    assert "\n" not in str(caught.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before  # no pipe is left open


def test_a_server_that_does_not_answer_is_not_blamed_for_its_import(
    open_server: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "_FORK_TIMEOUT_S", 0.02)
    server = open_server(script(tmp_path / "python", f"{READY}\ntime.sleep(600)"))
    server.wait_ready(LONG, nothing)
    with pytest.raises(EngineStartError, match="the engine process could not be started") as caught:
        server.fork("scripted_child", tmp_path / "child.log")
    assert "importing" not in str(caught.value)
    assert "vllmperf_start_timeout" not in str(caught.value)


def test_an_engines_end_is_not_waited_for_when_the_server_is_gone(server: ForkServer, tmp_path: Path) -> None:
    child = server.fork("scripted_child", tmp_path / "child.log")
    os.kill(server._process.pid, signal.SIGKILL)
    assert not server.wait_exit(child, LONG)
    wait_until_gone(child.pid)
    child.channel.close()


def test_a_server_that_does_not_stop_is_ended(
    open_server: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}\ntime.sleep(600)"
    server = open_server(script(tmp_path / "python", deaf))
    server.wait_ready(LONG, nothing)
    process, wait = server._process, server._process.wait
    monkeypatch.setattr(process, "wait", lambda timeout=None: wait(None if timeout is None else 0.02))
    server.close()
    assert process.returncode == -signal.SIGKILL
