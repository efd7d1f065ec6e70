"""The parent's side of an interpreter's server process, which has vLLM imported and forks a child per engine."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vllmperf.engines import log
from pytest_vllmperf.engines.channel import TICK_S, Channel
from pytest_vllmperf.errors import EngineStartError

_SCRIPT = Path(__file__).parent / "child" / "vllmperf_forkserver.py"
_PACKET = 1 << 20
_FORK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Library:
    """What a server process imports.

    Attributes:
        module: its name in Python.
        label: its name for a person.
        install: how to install it, for a person.
    """

    module: str
    label: str
    install: str


@dataclass
class Child:
    """One forked engine process.

    Attributes:
        pid: leader of a process group of its own, which all of the engine's processes belong to.
        channel: its line protocol.
        log: the file with its own output.
        exit_code: None while it runs; negative for the signal that ended it.
    """

    pid: int
    channel: Channel
    log: Path
    exit_code: int | None = None


class ForkServer:
    """One interpreter with a library imported.

    Args:
        python: path of the interpreter.
        library: what to import.
        env: variables set for it and its engines.
        folder: for its log, and as the engines' temporary folder.
    """

    def __init__(self, python: str, library: Library, env: Mapping[str, str], folder: Path) -> None:
        self._python = python
        self._library = library
        self._folder = folder
        self._log = folder / "server.log"
        self._children: dict[int, Child] = {}
        self.import_seconds = 0.0
        self._control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with child_end:
                self._process = self._start(child_end, {**os.environ, "TMPDIR": str(folder), **env})
        except OSError as error:
            self._control.close()
            raise EngineStartError(f"{python} cannot be started: {error.strerror or error}") from None

    def _start(self, child_end: socket.socket, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [self._python, str(_SCRIPT), self._library.module, str(child_end.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[child_end.fileno()],
                env=env,
                start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
            )

    @property
    def alive(self) -> bool:
        """Whether the process still runs; the out-of-memory killer likes it."""
        return self._process.poll() is None

    def wait_ready(self, timeout: float, on_tick: Callable[[float], None]) -> None:
        """Until the library is imported.

        Raises:
            EngineStartError: when it is not installed there or cannot be imported, or not in time.
        """
        event = self._receive(timeout, on_tick)
        if event["event"] == "ready":
            self.import_seconds = event["import_seconds"]
            return
        name, install = self._library.label, self._library.install
        if event["kind"] == "not_installed":
            raise EngineStartError(f"{name} is not installed for {self._python}; install it there with {install}")
        raise EngineStartError(f"{name} cannot be imported by {self._python}: {event['message']}", log.tail(self._log))

    def fork(self, script: str, log_file: Path) -> Child:
        """Start one engine process running the child script of that name."""
        child_read, parent_write = os.pipe()
        parent_read, child_write = os.pipe()
        request = json.dumps({"op": "fork", "script": script, "log": str(log_file)}).encode()
        try:
            socket.send_fds(self._control, [request], [child_read, child_write])
            event = self._receive(_FORK_TIMEOUT_S, lambda _: None, wanted="forked")
        except (OSError, EngineStartError) as error:
            os.close(parent_read)
            os.close(parent_write)
            raise EngineStartError(f"no engine process could be started: {error}", log.tail(self._log)) from None
        finally:
            os.close(child_read)
            os.close(child_write)
        child = Child(event["pid"], Channel(parent_read, parent_write), log_file)
        self._children[child.pid] = child
        return child

    def wait_exit(self, child: Child, timeout: float) -> bool:
        """Whether the child ended within `timeout` seconds; its exit code then stands in it."""
        deadline = time.monotonic() + timeout
        while child.exit_code is None and time.monotonic() < deadline:
            if self._readable(min(TICK_S, max(0.0, deadline - time.monotonic()))) and not self._read_exit():
                return False
        return child.exit_code is not None

    def close(self) -> None:
        """End the server, and with it every engine that still runs."""
        self._control.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, timeout: float, on_tick: Callable[[float], None], wanted: str = "") -> dict[str, Any]:
        """The next event, or the next of one kind; news of children that ended is kept."""
        started = time.monotonic()
        while (waited := time.monotonic() - started) < timeout:
            if not self._readable(min(TICK_S, timeout - waited)):
                on_tick(time.monotonic() - started)
                continue
            data = self._control.recv(_PACKET)
            if not data:
                code = self._process.wait()
                raise EngineStartError(
                    f"the server process of {self._python} ended with exit code {code}", log.tail(self._log)
                )
            event: dict[str, Any] = json.loads(data)
            if event["event"] == "exited":
                self._note_exit(event)
            if not wanted or event["event"] == wanted:
                return event
        self._process.kill()
        doing = "fork an engine" if wanted else f"finish importing {self._library.label}"
        advice = "" if wanted else "; raise vllmperf_start_timeout if it needs longer"
        raise EngineStartError(f"{self._python} did not {doing} within {timeout:g} s{advice}", log.tail(self._log))

    def _readable(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._control], [], [], timeout)
        return bool(ready)

    def _read_exit(self) -> bool:
        """Take in one event; False when the server is gone, which ended its children too."""
        data = self._control.recv(_PACKET)
        if data:
            self._note_exit(json.loads(data))
        return bool(data)

    def _note_exit(self, event: Mapping[str, Any]) -> None:
        child = self._children.pop(event.get("pid", -1), None)
        if child is not None:
            child.exit_code = event["exit_code"]
