"""Engines whose child process is scripted: it answers, refuses, hangs or dies as a test says."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines.child_engine import ChildEngine, start_child
from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.offline import PROGRAM, VLLM
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request
from tests.engines.conftest import LONG

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
