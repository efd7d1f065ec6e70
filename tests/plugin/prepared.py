"""A Python that has imported pytest and the plugin already, and forks a process for each worker of xdist.

A worker's own work takes a tenth of the time of its imports. It is a process of its own as any other: with the
environment, the folder and the pipes of the one that asked for it. Run as a script, this file is the server (`serve`)
or what xdist starts in a worker's place (`ask`), which stays until the worker has ended.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

MOST = 2**20
"""Bytes of a request: code, environment and folder."""

NO_PROC = Path("/nonexistent")
"""Where runs inside this process, and workers, look for the load of the machine, so that they do not find it."""

PROJECT = """\
import pytest
from pytest_vllmperf import Workload

@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_it(vllmperf):
    vllmperf.check(vllmperf.measure(Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)))
"""
"""What a worker does, done once before: after it all is imported, and by pytest's own importer of plugins."""


class PreparedPython:
    """The server, started when it is asked for first.

    Args:
        folder: for its socket and its first run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Of now, not of the test that needs it first; without what would make its run a part of this one.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        self._environment["OPENBLAS_NUM_THREADS"] = "1"  # threads do not survive a fork
        self._server: subprocess.Popen[bytes] | None = None

    def popen_args(self, spec: object) -> list[str]:
        """In the place of execnet's function of that name: the command that becomes a worker."""
        if self._server is None:
            self._server = self._started()
        code = "import sys;exec(eval(sys.stdin.readline()))"
        return [sys.executable, "-I", "-S", __file__, "ask", str(self._folder / "socket"), code]

    def close(self) -> None:
        """End the server, which waits for that on its standard input."""
        if self._server is not None:
            self._server.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        (self._folder / "pytest.ini").write_text("[pytest]\n")
        (self._folder / "test_it.py").write_text(PROJECT)
        command = [sys.executable, __file__, "serve", str(self._folder)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n", (
            "the server of prepared workers did not start; see its errors above"
        )
        return server


def serve(folder: Path) -> None:
    """Fork a worker for each request until standard input ends."""
    import select
    import signal

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps a request in one piece
    listener.bind(str(folder / "socket"))
    listener.listen()
    _prepare(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _work(connection)
        connection.close()


def _prepare(folder: Path) -> None:
    import pytest

    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.chdir(folder)

    unrelated = ("-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:cacheprovider")
    assert pytest.main([*unrelated, "--vllmperf-update", "test_it.py"]) == 0
    os.dup2(output, 1)
    sys.modules.pop("test_it")
    sys.modules["pytest_vllmperf.lab.host"].PROC = NO_PROC  # type: ignore[attr-defined]


def _work(connection: socket.socket) -> None:
    """Become the process that was asked for; the connection ends with it."""
    message, pipes, _, _ = socket.recv_fds(connection, MOST, 3)
    asked = json.loads(message)
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    status = 1
    try:
        exec(asked["code"], vars(main))
        status = 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def ask(path: str, code: str) -> None:
    """Have a worker started on this process's pipes, and wait for its end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(path)
        asked = {"code": code, "environment": dict(os.environ), "folder": str(Path.cwd())}
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
        for pipe in (0, 1):
            os.close(pipe)
        connection.recv(1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        ask(*sys.argv[2:4])
