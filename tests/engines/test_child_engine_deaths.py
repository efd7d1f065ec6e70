"""An engine whose process, server process or one of vLLM's own processes dies. The child is scripted."""

import sys
import threading
from pathlib import Path

import pytest

from pytest_vllmperf.engines.endings import OomKills
from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.offline import VLLM
from pytest_vllmperf.errors import EngineDiedError, EngineStartError
from pytest_vllmperf.records.engine import Sampling
from tests.engines.conftest import LONG, wait_until_gone
from tests.engines.scripted_engines import REQUESTS, Starter, modules, server, start

__all__ = ["modules", "server", "start"]


def test_a_process_that_dies_while_loading_did_not_start(start: Starter, tmp_path: Path) -> None:
    with pytest.raises(EngineStartError) as caught:
        start(act_load="kill")
    assert str(caught.value) == (
        "model: the engine process was ended by SIGKILL during load; the kernel sends it when memory runs out"
    )
    (log,) = tmp_path.glob("engine-*.log")
    assert caught.value.log_tail.endswith(f"load kill\nfull log: {log}")


def test_a_process_that_exits_while_loading_did_not_start(start: Starter) -> None:
    with pytest.raises(EngineStartError, match="the engine process ended with exit code 3 during load"):
        start(act_load="exit")


@pytest.mark.parametrize(
    ("act", "how"),
    [
        ("kill", "was ended by SIGKILL during run; the kernel sends it when memory runs out"),
        ("exit", "ended with exit code 3 during run"),
        ("rtsignal", "was ended by SIGRTMIN+2 during run"),
    ],
)
def test_a_process_that_dies_in_use_is_told_with_its_log(start: Starter, tmp_path: Path, act: str, how: str) -> None:
    engine = start(act_run=act)
    with pytest.raises(EngineDiedError) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value) == f"model: the engine process {how}"
    (log,) = tmp_path.glob("engine-*.log")
    assert caught.value.log_tail.endswith(f"run {act}\nfull log: {log}")
    with pytest.raises(EngineDiedError, match="model is already stopped"):
        engine.run(REQUESTS, Sampling())
    engine.close()


CORE = {"core": "VLLM::EngineCore_DP0"}


@pytest.mark.parametrize("waits", [False, True], ids=["zombie", "gone"])
def test_a_process_of_vllms_that_died_is_noticed(start: Starter, waits: bool) -> None:
    words = "(EngineCore_DP0 pid=7) ERROR 10-20 12:00:13 [core.py:1165] ValueError: out of blocks"
    engine = start(**CORE, act_run="core dies", waits=waits, last_words=words, say="KeyError: of long ago")
    with pytest.raises(EngineDiedError) as caught:  # the operation's time-out would be another error
        engine.run(REQUESTS, Sampling())
    assert str(caught.value) == "model: vLLM's process EngineCore_DP0 died during run: out of blocks"
    assert "ValueError: out of blocks\nfull log: " in caught.value.log_tail
    wait_until_gone(engine.pid)


def test_a_process_of_vllms_that_died_without_a_word(start: Starter) -> None:
    engine = start(**CORE, act_run="core dies", say="KeyError: of long ago")
    with pytest.raises(EngineDiedError, match=r"^model: vLLM's process EngineCore_DP0 died during run$"):
        engine.run(REQUESTS, Sampling())


def test_a_process_of_vllms_that_was_killed_for_memory(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start(core="VLLM::Worker_TP1", act_run="core dies")
    monkeypatch.setattr("pytest_vllmperf.engines.endings.oom_kills", lambda: OomKills(2**40, 2**30))
    with pytest.raises(EngineDiedError) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value) == (
        "model: vLLM's process Worker_TP1 was killed because memory ran out (the cgroup's limit of 1 GiB) during run"
    )


def test_an_engine_that_says_itself_that_its_process_died(start: Starter) -> None:
    engine = start(**CORE, act_run="core dies and it says so")
    with pytest.raises(EngineDiedError, match=r"^model: vLLM's process EngineCore_DP0 died during run$") as caught:
        engine.run(REQUESTS, Sampling())
    assert "full log: " in caught.value.log_tail
    wait_until_gone(engine.pid)


def test_an_engine_that_ends_in_order_because_its_process_died(start: Starter) -> None:
    """As vLLM's server does; what is asked of it then is how much it has used, after a run."""
    words = "(EngineCore_DP0 pid=7) ERROR 10-20 12:00:13 [core.py:1165] ValueError: out of blocks"
    engine = start(**CORE, act_usage="core dies and it ends", last_words=words)
    with pytest.raises(EngineDiedError) as caught:
        engine.ask({"op": "usage"})  # type: ignore[attr-defined]
    assert str(caught.value) == "model: vLLM's process EngineCore_DP0 died during run: out of blocks"
    assert "full log: " in caught.value.log_tail
    wait_until_gone(engine.pid)


def test_other_processes_come_and_go(start: Starter) -> None:
    engine = start(**CORE, act_reset_prefix_cache="helper dies")
    engine.reset_prefix_cache()
    engine.sleep()


def test_a_server_that_was_killed_is_told(
    tmp_path: Path, modules: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = ForkServer(sys.executable, VLLM, {"PYTHONPATH": str(modules)}, folder)
    request.addfinalizer(server.close)
    server.wait_ready(LONG, lambda _: None)
    starter = Starter(server, tmp_path)
    engine = starter(act_run="hang")
    threading.Timer(0.3, server._process.kill).start()
    with pytest.raises(EngineDiedError) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value) == (
        "model: the engine process ended during run with its server process, which was ended by SIGKILL; the "
        "kernel sends it when memory runs out"
    )
    wait_until_gone(engine.pid)
