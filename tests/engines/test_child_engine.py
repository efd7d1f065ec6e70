"""An engine's own side: what it makes of answers, refusals, silence and death. The child is scripted."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines.base import run_result
from pytest_vllmperf.engines.child_engine import ChildEngine, start_child
from pytest_vllmperf.engines.endings import OomKills
from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.offline import PROGRAM, VLLM
from pytest_vllmperf.errors import (
    EngineDiedError,
    EngineError,
    EngineStartError,
    EngineTimeoutError,
    EngineUnsupportedError,
    WorkloadError,
)
from pytest_vllmperf.records.engine import Continuations, RenderedChat, Sampling, Timeouts, TokenScores, WeightLayers
from pytest_vllmperf.records.run import RequestRecord
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request
from tests.engines.conftest import LONG, wait_until_gone

# Takes the place of the child script of this name: what is in the folder in front comes first.
CHILD = """
import os, resource, signal, subprocess, sys, time
import vllmperf_process

FACTS = {
    "device": "cpu", "device_name": None, "max_model_len": 64, "vocab_size": 100, "special_token_ids": [0, 1],
    "prefix_caching": True, "kv_cache_tokens": 512, "kv_cache_bytes": 4096, "versions": {"vllm": "0"},
    "resolved": {"dtype": "float32"}, "load_seconds": 10.0,
    "weights": {"declared": {}, "asked": None, "resolved": None, "dummy": False, "loaded_bytes": 5, "layers": [
        {"method": "Plain", "quantized": False, "layers": 2, "weights": 8, "held_bytes": 16}]},
}

def run(message):
    record = {"prompt_tokens": 2, "output_tokens": 3, "cached_tokens": 0, "finish_reason": "length",
              "queued_ts": 1.0, "scheduled_ts": 1.5, "first_token_ts": 2.0, "last_token_ts": 4.0}
    records = [record for _ in message["requests"]]
    if message["sampling"]["seed"] == 99:
        records[-1] = None
    return {"requests": records, "itl_ns": [5], "engine_steps": 3, "preemptions": 1, "prefix_cache_hit_tokens": 2,
            "cpu_seconds": 0.5, "resident_bytes": 9, "busy_seconds": message["concurrency"] or 0.25}

def serve(lines):
    script = {}
    for message in lines:
        op = message["op"]
        if op == "load":
            script = message["engine_args"]
            print("Loading weights took 4.0 seconds", script.get("say", ""), sep="\\n", flush=True)
        act, words = script.get("act_" + op), script.get("words", "")
        if op == "load" and script.get("core"):
            core = subprocess.Popen([script["core"], "600"], executable="/bin/sleep")
            helper = subprocess.Popen(["/bin/sleep", "600"])
            while open(f"/proc/{core.pid}/comm").read() != "sleep\\n":
                time.sleep(0.01)
        print(op, act, flush=True)
        if act == "hang":
            time.sleep(600)
        elif act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "exit":
            os._exit(3)
        elif act in ("core dies", "core dies and it says so", "core dies and it ends", "helper dies"):
            print(script.get("last_words", ""), flush=True)
            process = helper if act == "helper dies" else core
            process.kill()
            if script.get("waits"):
                process.wait()
            if act == "core dies":
                time.sleep(600)
            elif act == "core dies and it ends":
                os._exit(0)
            elif act == "helper dies":
                time.sleep(1.5)
                lines.send({"ok": True})
            else:  # vLLM says so once it has seen it end; nobody has waited for it by then
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                lines.send({"error": {"type": "EngineDeadError", "message": "see above", "pid": os.getpid()}})
        elif act == "rtsignal":
            os.kill(os.getpid(), signal.SIGRTMIN + 2)
        elif act == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
            try:
                print("x" * 1000, flush=True)
            except OSError as error:
                sys.stdout = open(os.devnull, "w")
                vllmperf_process.print_traceback()
                lines.send({"error": {"type": "OSError", "message": str(error), "pid": os.getpid()}})
        elif act:
            lines.send({"error": {"type": act, "message": words, "pid": os.getpid()}})
        else:
            lines.send({"ok": {"load": lambda: {**FACTS, "resolved": {"model": message["model"]}},
                               "run": lambda: run(message),
                               "reset_prefix_cache": lambda: script.get("reset", True),
                               "generate": lambda: {"prompts": [[5]], "outputs": [[6, 7]]},
                               "score": lambda: [{"logprobs": [-0.5], "top": [6]}],
                               "render": lambda: [{"ids": [1], "tokens": [message["model"] or "own"]}],
                               "sleep": lambda: None, "wake_up": lambda: None,
                               "shutdown": lambda: None}[op]()})
        if op == "shutdown":
            return
"""

REQUESTS = (Request(0, 3, prompt_token_ids=(5, 6)), Request(1, 3, prompt="hello"))


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "vllm.py").write_text("LLM = None\n")
    (folder / "compressed_tensors.py").write_text("")
    (folder / "vllmperf_offline.py").write_text(CHILD)
    return folder


@pytest.fixture(scope="module")
def server(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    opened = ForkServer(sys.executable, VLLM, {"PYTHONPATH": str(modules)}, tmp_path_factory.mktemp("server"))
    opened.wait_ready(LONG, lambda _: None)
    opened.import_seconds = 2.5
    yield opened
    opened.close()


class Starter:
    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.engines: list[ChildEngine] = []
        self.told: list[str] = []

    def __call__(self, *, timeouts: Timeouts | None = None, model: str = "org/model", **script: Any) -> ChildEngine:
        spec = EngineSpec.create("org/model", **script)
        engine = start_child(
            spec,
            PROGRAM,
            model,
            self.server,
            self.folder,
            timeouts or Timeouts(LONG, LONG, LONG),
            lambda doing, waited: self.told.append(doing),
        )
        self.engines.append(engine)
        return engine


@pytest.fixture
def start(server: ForkServer, tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(server, tmp_path)
    yield starter
    for engine in starter.engines:
        engine.kill()


def test_what_came_up_is_told(start: Starter) -> None:
    facts = start(model="/tmp", max_model_len=64).facts
    assert facts.resolved == {"model": "/tmp"}
    assert (facts.device, facts.max_model_len, facts.special_token_ids) == ("cpu", 64, (0, 1))
    assert facts.load_time == {"import": 2.5, "total": 10.0, "weights": 4.0, "rest": 6.0}


def test_the_phase_of_a_load_is_told_however_short_it_is(start: Starter) -> None:
    start()  # answers at once, before the first tick
    assert start.told[0] == "starting"


def test_a_run_sends_the_requests_and_takes_the_records(start: Starter) -> None:
    result = start().run(REQUESTS, Sampling(concurrency=2, seed=7))
    assert [record.index for record in result.requests] == [0, 1]
    assert result.requests[0] == RequestRecord(0, 2, 3, 0, "length", 1.0, 1.5, 2.0, 4.0)
    assert (result.itl_ns, result.engine_steps, result.preemptions, result.prefix_cache_hit_tokens) == ((5,), 3, 1, 2)
    assert (result.cpu_seconds, result.resident_bytes, result.busy_seconds) == (0.5, 9, 2)


def test_a_request_without_an_answer_did_not_finish(start: Starter) -> None:
    result = start().run(REQUESTS, Sampling(seed=99))
    assert [record.finish_reason for record in result.requests] == ["length", None]
    assert result.requests[1].index == 1


def test_answers_that_do_not_belong_to_the_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        run_result({"requests": [None], "itl_ns": []}, REQUESTS)


def test_the_prefix_cache_is_reset_or_the_refusal_told(start: Starter) -> None:
    start().reset_prefix_cache()
    with pytest.raises(EngineError, match="model: the prefix cache could not be reset"):
        start(reset=False).reset_prefix_cache()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("max_model_len is too large", "max_model_len is too large"),
        ("first line\nsecond line\nthird line", "first line second line"),
        (
            "1 validation error for ModelConfig\n  Value error, Cannot find the config file for awq [type=value_error, "
            "input_value=x]\n    For further information visit https://errors.pydantic.dev",
            "Cannot find the config file for awq",
        ),
        ("1 validation error\n  Assertion failed, no such dtype [type=assertion_error]", "no such dtype"),
        ("", "RuntimeError"),
    ],
)
def test_a_refusal_is_told_in_vllms_words_and_one_line(start: Starter, words: str, told: str) -> None:
    with pytest.raises(EngineStartError) as caught:
        start(act_load="RuntimeError", words=words)
    assert str(caught.value) == f"vLLM refused model: {told}"
    assert "load RuntimeError" in caught.value.log_tail


def test_a_refusal_for_want_of_memory_names_the_argument(start: Starter) -> None:
    words = "Available memory on node 0 (10.0/20.0 GiB) on startup is less than desired CPU memory utilization (0.92)."
    with pytest.raises(EngineStartError) as caught:
        start(act_load="ValueError", words=words)
    hint = "; in a test: @pytest.mark.vllm(..., gpu_memory_utilization=0.45)"
    assert str(caught.value) == f"vLLM refused model: {words.rstrip('.')}{hint}"


def test_why_another_process_of_vllm_failed_is_looked_up_in_its_log(start: Starter) -> None:
    words = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    with pytest.raises(EngineStartError, match=r"^vLLM refused model: Engine core initialization failed"):
        start(act_load="RuntimeError", words=words)
    said = "(EngineCore pid=7) ValueError: Free memory is too small"
    with pytest.raises(EngineStartError) as caught:
        start(act_load="RuntimeError", words=words, say=said)
    assert str(caught.value) == "vLLM refused model: Free memory is too small"


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


def test_loading_that_takes_too_long_is_ended(start: Starter) -> None:
    with pytest.raises(EngineStartError) as caught:
        start(act_load="hang", timeouts=Timeouts(0.4, LONG, LONG))
    assert str(caught.value) == "model did not start within 0.4 s; raise vllmperf_start_timeout if it needs longer"
    assert len(start.told) > 1  # at once, and while it waits
    assert set(start.told) <= {"starting", "preparing the KV cache"}


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


def test_an_operation_that_takes_too_long_ends_the_engine(start: Starter) -> None:
    engine = start(act_run="hang", timeouts=Timeouts(LONG, 0.02, LONG))
    with pytest.raises(EngineTimeoutError) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value) == (
        "model: run took longer than 0.02 s and the engine was stopped; raise vllmperf_operation_timeout if it "
        "needs longer"
    )
    wait_until_gone(engine.pid)
    with pytest.raises(EngineDiedError, match="is already stopped"):
        engine.reset_prefix_cache()


def test_a_stopped_engine_is_not_waited_for_while_a_large_request_is_sent(start: Starter) -> None:
    engine = start(timeouts=Timeouts(LONG, 0.3, LONG))
    os.kill(engine.pid, signal.SIGSTOP)
    large = (Request(0, 3, prompt_token_ids=tuple(range(100_000))),)
    with pytest.raises(EngineTimeoutError, match=r"model: run took longer than 0.3 s"):
        engine.run(large, Sampling())
    wait_until_gone(engine.pid)


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


def test_an_engine_whose_log_is_full_says_so_itself(start: Starter) -> None:
    engine = start(act_run="full")
    with pytest.raises(EngineError, match=r"^model: \[Errno 27\] File too large$"):
        engine.run(REQUESTS, Sampling())


@pytest.mark.parametrize(("kind", "error"), [("ValueError", WorkloadError), ("RuntimeError", EngineError)])
def test_what_a_run_is_refused_for_is_one_line(start: Starter, kind: str, error: type[Exception]) -> None:
    engine = start(act_run=kind, words="request 0 is too long\nand more of it")
    with pytest.raises(error) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value).startswith("model: request 0 is too long")
    assert "\n" not in str(caught.value)


def test_a_refused_run_leaves_the_engine_up(start: Starter) -> None:
    engine = start(act_run="ValueError", words="too long")
    with pytest.raises(WorkloadError):
        engine.run(REQUESTS, Sampling())
    engine.reset_prefix_cache()


def test_close_asks_first(start: Starter, tmp_path: Path) -> None:
    engine = start()
    (log,) = tmp_path.glob("engine-*.log")
    with log.open() as written:
        engine.close()
        assert "shutdown None" in written.read()
    engine.close()
    wait_until_gone(engine.pid)
    assert not log.exists()  # nobody asks for the log of an engine that did not fail
    with pytest.raises(EngineDiedError, match="is already stopped"):
        engine.run(REQUESTS, Sampling())


def test_close_ends_one_that_does_not_stop(start: Starter) -> None:
    engine = start(act_shutdown="hang", timeouts=Timeouts(LONG, LONG, 0.3))
    engine.close()
    wait_until_gone(engine.pid)


def test_close_of_one_that_is_dead_already(start: Starter) -> None:
    engine = start()
    os.kill(engine.pid, signal.SIGKILL)
    wait_until_gone(engine.pid)
    engine.close()


def test_kill_leaves_no_descriptor_open(start: Starter) -> None:
    start().kill()
    before = len(list(Path("/proc/self/fd").iterdir()))
    engine = start()
    engine.kill()
    engine.kill()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    wait_until_gone(engine.pid)


def test_what_it_says_is_told(start: Starter) -> None:
    engine = start()
    assert engine.generate(REQUESTS) == Continuations(prompts=((5,),), outputs=((6, 7),))
    assert engine.score([[5, 6]]) == (TokenScores((-0.5,), (6,)),)
    chat = [[{"role": "user", "content": "hello"}]]
    assert engine.render(chat) == (RenderedChat((1,), ("own",)),)
    assert engine.render(chat, "other") == (RenderedChat((1,), ("other",)),)


@pytest.mark.parametrize("operation", ["sleep", "wake_up"])
def test_it_sleeps_and_wakes(start: Starter, tmp_path: Path, operation: str) -> None:
    engine = start()
    getattr(engine, operation)()
    (log,) = tmp_path.glob("engine-*.log")
    assert f"{operation} None" in log.read_text()


def test_how_the_weights_are_held_is_told(start: Starter) -> None:
    weights = start().facts.weights
    assert weights is not None
    assert (weights.weight_bytes, weights.layers) == (5, (WeightLayers("Plain", False, 2, 8, 16),))


@pytest.mark.parametrize(
    "words",
    [
        "The quantization method fp8 is not supported for the current GPU. Minimum capability: 89.",
        "'_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'",
        "Failed to find a kernel that can implement the WNA16 linear layer",
        "Unknown quantization method: bitsandbytes. Must be one of ['awq', 'fp8']",
    ],
)
def test_what_a_build_or_device_cannot_run_is_told_apart(start: Starter, words: str) -> None:
    with pytest.raises(EngineUnsupportedError, match=r"vLLM refused model: "):
        start(act_load="RuntimeError", words=words)
    engine = start(act_run="RuntimeError", words=words)
    with pytest.raises(EngineUnsupportedError, match=r"^model: "):
        engine.run(REQUESTS, Sampling())
