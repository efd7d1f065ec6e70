"""Server processes of an interpreter, with a stand-in for vLLM, for an engine, or for the interpreter."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.offline import VLLM
from tests.engines.conftest import LONG

CHILD = """
import os, signal, subprocess, sys

def serve(lines):
    print("child is up", flush=True)
    for message in lines:
        op = message.pop("op")
        if op == "echo":
            lines.send({"ok": message, "pid": os.getpid(), "group": os.getpgid(0)})
        elif op == "spawn":
            lines.send({"ok": subprocess.Popen(["sleep", "600"]).pid})
        elif op == "fork":
            pid = os.fork()
            if pid == 0:
                signal.pause()
            lines.send({"ok": pid})
        elif op == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif op == "raise":
            raise RuntimeError("the child's own words")
        elif op == "exit":
            os._exit(7)
"""


def nothing(waited: float) -> None:
    pass


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder in front of the interpreter's own modules, with a `vllm` that is nothing."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "vllm.py").write_text("LLM = None\n")
    (folder / "compressed_tensors.py").write_text("")
    (folder / "scripted_child.py").write_text(CHILD)
    return folder


Open = Callable[..., ForkServer]


@pytest.fixture
def open_server(tmp_path: Path, modules: Path) -> Iterator[Open]:
    opened: list[ForkServer] = []

    def start(python: str = sys.executable) -> ForkServer:
        folder = tmp_path / f"server-{len(opened)}"
        folder.mkdir()
        server = ForkServer(python, VLLM, {"PYTHONPATH": str(modules)}, folder)
        opened.append(server)
        return server

    yield start
    for server in opened:
        server.close()


@pytest.fixture
def server(open_server: Open) -> ForkServer:
    ready = open_server()
    ready.wait_ready(LONG, nothing)
    return ready


def script(path: Path, body: str) -> str:
    """An executable that takes the interpreter's place: it gets the server's arguments."""
    head = "import json, os, signal, socket, sys, time\ncontrol = socket.socket(fileno=int(sys.argv[3]))\n"
    path.write_text(f"#!{sys.executable}\n{head}{body}\n")
    path.chmod(0o755)
    return str(path)


READY = "control.send(json.dumps({'event': 'ready', 'import_seconds': 1.5}).encode())"
