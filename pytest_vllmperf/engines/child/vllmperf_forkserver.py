"""The server process of one interpreter: imports a library once, never touches CUDA, forks a child per engine.

Started as `python vllmperf_forkserver.py LIBRARY CONTROL_FD PARENT_PID FOLDER`. The library is `vllm` or
`transformers`; the folder is private to this process. The control socket carries one JSON object a packet. The process
ends, and every engine with it, when its parent does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [*(entry for entry in sys.path if entry != HERE), HERE]  # last: no name of ours hides another

import vllmperf_cpu_build  # noqa: E402
import vllmperf_inspection  # noqa: E402
import vllmperf_process  # noqa: E402

PACKET = 1 << 20
# Imported by every engine while it loads; what a version or build lacks is left out.
PRELOAD = (
    "vllm.v1.engine.llm_engine",
    "vllm.v1.engine.core",
    "vllm.v1.engine.core_client",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.model_loader.default_loader",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.layers.quantization.compressed_tensors.utils",
    "vllm.model_executor.layers.quantization.online.base",
    "compressed_tensors",
)
PRELOAD_TRANSFORMERS = ("torch", "accelerate", "transformers", "transformers.models.auto.modeling_auto")
PRELOAD_CPU = ("vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner")


def import_library(name: str, folder: str) -> dict[str, Any]:
    """Import the library and what engines will need of it. Returns the event that tells how it went.

    Args:
        name: of the library.
        folder: private to this process.
    """
    started = time.monotonic()
    cpu_version = vllmperf_cpu_build.prepare_environment()
    if importlib.util.find_spec(name) is None:
        return {"event": "failed", "kind": "not_installed", "message": f"{name} is not installed"}
    try:
        if name == "vllm":
            import_vllm(cpu_version, folder)
        else:
            preload(PRELOAD_TRANSFORMERS, required=True)
    except BaseException as error:
        traceback.print_exc()
        return {"event": "failed", "kind": "broken", "message": f"{type(error).__name__}: {error}"}
    gc.collect()
    gc.freeze()  # children do not search what was imported: saves a second at every start
    return {"event": "ready", "import_seconds": time.monotonic() - started, "pid": os.getpid()}


def import_vllm(cpu_version: str | None, folder: str) -> None:
    """Import vLLM.

    Args:
        cpu_version: of its CPU build; None for another build.
        folder: private to this process.
    """
    if cpu_version is not None:
        stub = vllmperf_cpu_build.metadata_stub(cpu_version, folder)
        sys.path += [stub] if stub else []
    started = time.monotonic()
    vllm = importlib.import_module("vllm")
    vllm.LLM  # noqa: B018 - resolved on first use, which is the import that takes long
    preload(PRELOAD + (PRELOAD_CPU if cpu_version is not None else ()))
    vllmperf_inspection.prepare(time.monotonic() - started)


def preload(modules: tuple[str, ...], *, required: bool = False) -> None:
    """Import `modules`; unless they are required, what a version has of them."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            if required:
                raise
            print(f"not preloaded: {module}: {error}", file=sys.stderr)


class Server:
    """Forks engines on request and tells when one has ended."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: set[int] = set()

    def tell(self, message: dict[str, Any]) -> None:
        """Send one packet to the parent; a parent that is gone ends everything."""
        try:
            self.control.send(json.dumps(message).encode())
        except OSError:
            self.end()

    def end(self) -> None:
        """End every engine with all its processes, then this process."""
        for child in self.children:
            vllmperf_process.kill_group(child)
        os._exit(0)

    def serve(self) -> None:
        """Until the parent closes its end."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        poll = select.poll()  # select() refuses descriptors above 1023
        for fd in (self.control.fileno(), wake_read):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if wake_read in ready:
                os.read(wake_read, 4096)
            self.reap()
            if self.control.fileno() in ready:
                self.handle()

    def reap(self) -> None:
        """Tell of children that have ended, and end what they left in their group."""
        for child in sorted(self.children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self.children.discard(child)
                vllmperf_process.kill_group(child)
                self.tell({"event": "exited", "pid": child, "exit_code": os.waitstatus_to_exitcode(status)})

    def handle(self) -> None:
        """One request of the parent: `fork`, with the read and write end of the engine's pipes and its log."""
        data, fds, _, _ = socket.recv_fds(self.control, PACKET, 3)
        if not data:
            self.end()
        request = json.loads(data)
        server, child = os.getpid(), os.fork()
        if child == 0:
            run_engine(request, fds, server, self.control)
        for fd in fds:
            os.close(fd)
        self.children.add(child)
        self.tell({"event": "forked", "pid": child})


def run_engine(request: dict[str, Any], fds: list[int], server: int, control: socket.socket) -> None:
    """The child: a process group of its own, output into the log, then the engine's script. Does not return."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        vllmperf_process.die_with_parent(server)
        control.close()
        read_fd, write_fd, log = fds
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        lines = vllmperf_process.Lines(read_fd, write_fd)
        lines.close_in_descendants()
        request["held"] = importlib.import_module(request["script"]).serve(lines)
        code = 0
    except BaseException:
        vllmperf_process.print_traceback()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the disk is full
                stream.flush()
        os._exit(code)


def main() -> None:
    """Import, tell how it went, serve."""
    library, parent, folder = sys.argv[1], int(sys.argv[3]), sys.argv[4]
    try:
        control = socket.socket(fileno=int(sys.argv[2]))
    except OSError:
        sys.exit(f"the program that started {sys.executable} closed file descriptors that the engine needs")
    control.set_inheritable(False)
    server = Server(control)
    if os.getppid() != parent:  # where the parent is gone, telling it ends this process
        server.tell({"event": "failed", "kind": "wrapper", "message": "the parent process changed"})
        return
    vllmperf_process.die_with_parent(parent)
    event = import_library(library, folder)
    server.tell(event)
    if event["event"] == "ready":
        vllmperf_process.die_with_parent(parent, signal.SIGTERM)
        server.serve()


if __name__ == "__main__":
    main()
