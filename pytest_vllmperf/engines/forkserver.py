"""The parent's side of an interpreter's server process, which has vLLM imported and forks a child per engine."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vllmperf.engines import log
from pytest_vllmperf.engines.channel import TICK_S, Channel, is_ready
from pytest_vllmperf.engines.endings import OomKills, ending, oom_kills
from pytest_vllmperf.errors import EngineStartError

_SCRIPT = Path(__file__).parent / "child" / "vllmperf_forkserver.py"
_PACKET = 1 << 20
_FORK_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 5.0
_NO_ENGINE = "the engine process could not be started"


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
        folder: private; the engines' temporary folder, unless `env` says otherwise. Its log lies beside it.

    Raises:
        EngineStartError: when the interpreter cannot be started, or its log not be written.
    """

    def __init__(self, python: str, library: Library, env: Mapping[str, str], folder: Path) -> None:
        self._python = python
        self._library = library
        self._folder = folder
        self._log = folder.with_name(f"server-{folder.name}.log")
        self._children: dict[int, Child] = {}
        self._before = oom_kills()
        self._given_up = False
        self.import_seconds = 0.0
        try:
            output = log.opened(self._log)
        except OSError as error:
            raise EngineStartError(unwritable(error)) from None
        try:
            self._control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with child_end, ExitStack() as failed:
                failed.callback(self._control.close)
                self._process = self._start(child_end, output, {**os.environ, "TMPDIR": str(folder), **env})
                failed.pop_all()
        except OSError as error:
            raise EngineStartError(f"{python} cannot be started: {error.strerror or error}") from None
        finally:
            os.close(output)

    def _start(self, child_end: socket.socket, output: int, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the process in a thread that lives as long as it does.

        The kernel sends a process its parent-death signal when the *thread* that started it ends: a test may well
        measure in a thread.
        """
        control = child_end.fileno()
        arguments = [self._library.module, str(control), str(os.getpid()), str(self._folder)]
        started: Future[subprocess.Popen[bytes]] = Future()

        def start() -> None:
            try:
                process = subprocess.Popen(
                    [self._python, str(_SCRIPT), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[control],
                    env=env,
                    start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
                )
            except Exception as error:
                started.set_exception(error)
                return
            started.set_result(process)
            with suppress(ChildProcessError):  # waited for already
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        threading.Thread(target=start, name=f"vllmperf-{self._folder.name}", daemon=True).start()
        return started.result()

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
        raise EngineStartError(self._refusal(event), log.kept_tail(self._log))

    def _refusal(self, event: Mapping[str, Any]) -> str:
        name, python = self._library.label, self._python
        if event["kind"] == "not_installed":
            return f"{name} is not installed for {python}; install it there with {self._library.install}"
        if event["kind"] == "wrapper":
            return (
                f"{python} is a wrapper that starts Python without `exec`, so an engine could outlive its test; "
                f"use `exec` in the wrapper"
            )
        return f"{name} cannot be imported by {python}: {log.cut(event['message'], log.MESSAGE_CHARACTERS)}"

    def fork(self, script: str, log_file: Path) -> Child:
        """Start one engine process running the child script of that name.

        Raises:
            EngineStartError: when the server does not do it, or the log cannot be written.
        """
        opened: list[int] = []
        try:
            opened.append(log.opened(log_file))
            for _ in range(2):
                opened += os.pipe()
            log_fd, child_read, parent_write, parent_read, child_write = opened
            self._before = oom_kills()
            self._send({"op": "fork", "script": script}, [child_read, child_write, log_fd])
            event = self._receive(_FORK_TIMEOUT_S, lambda _: None, wanted="forked")
            opened = [log_fd, child_read, child_write]
        except OSError as error:
            raise EngineStartError(unwritable(error) if error.filename else f"{_NO_ENGINE}: {error}") from None
        except EngineStartError as error:
            raise EngineStartError(f"{_NO_ENGINE}: {error}", error.log_tail) from None
        finally:
            for fd in opened:
                os.close(fd)
        child = Child(event["pid"], Channel(parent_read, parent_write), log_file)
        self._children[child.pid] = child
        return child

    def ending(self, child: Child, during: str, before: OomKills) -> str:
        """How an engine's process ended, for a sentence that begins with "the engine process".

        Args:
            child: it has ended, or is about to.
            during: what it did.
            before: what `oom_kills` had counted when that began.
        """
        if child.exit_code is not None or self.alive:
            return ending(child.exit_code, f" during {during}", before)
        if self._given_up:
            return f"ended during {during} with its server process, which did not answer and was stopped"
        return f"ended during {during} with its server process, which {ending(self._exit_code(), '', before)}"

    def wait_exit(self, child: Child, timeout: float) -> bool:
        """Whether the child ended within `timeout` seconds; its exit code then stands in it."""
        deadline = time.monotonic() + timeout
        while child.exit_code is None and (left := deadline - time.monotonic()) > 0:
            if self._readable(min(TICK_S, left)) and not self._read_exit():
                return False
        return child.exit_code is not None

    def close(self) -> None:
        """End the server, and with it every engine that still runs."""
        self._control.close()
        self._process.terminate()
        self._exit_code()

    def _exit_code(self) -> int | None:
        """Wait for a server that is about to end, and end it if it does not; None if even that takes too long."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=_END_TIMEOUT_S)
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=_END_TIMEOUT_S)
        return None

    def _send(self, request: Mapping[str, Any], fds: list[int]) -> None:
        """Hand over one request.

        Raises:
            OSError: when the server is gone, or takes nothing in time.
        """
        self._control.settimeout(_FORK_TIMEOUT_S)
        socket.send_fds(self._control, [json.dumps(request).encode()], fds)

    def _receive(self, timeout: float, on_tick: Callable[[float], None], wanted: str = "") -> dict[str, Any]:
        """The next event, or the next of one kind; news of children that ended is kept."""
        started = time.monotonic()
        while (waited := time.monotonic() - started) < timeout:
            if not self._readable(min(TICK_S, timeout - waited)):
                on_tick(time.monotonic() - started)
                continue
            data = self._packet()
            if not data:
                how = ending(self._exit_code(), "", self._before)
                raise EngineStartError(f"the server process of {self._python} {how}", log.kept_tail(self._log))
            event: dict[str, Any] = json.loads(data)
            if event["event"] == "exited":
                self._note_exit(event)
            if not wanted or event["event"] == wanted:
                return event
        self._given_up = True
        self._process.kill()
        doing = "fork an engine" if wanted else f"finish importing {self._library.label}"
        advice = "" if wanted else "; raise vllmperf_start_timeout if it needs longer"
        told = f"{self._python} did not {doing} within {timeout:g} s{advice}"
        raise EngineStartError(told, log.kept_tail(self._log))

    def _readable(self, timeout: float) -> bool:
        return is_ready(self._control.fileno(), select.POLLIN, timeout)

    def _packet(self) -> bytes:
        """One packet; empty when the server is gone."""
        try:
            return self._control.recv(_PACKET)
        except OSError:
            return b""

    def _read_exit(self) -> bool:
        """Take in one event; False when the server is gone, which ended its children too."""
        data = self._packet()
        if data:
            self._note_exit(json.loads(data))
        return bool(data)

    def _note_exit(self, event: Mapping[str, Any]) -> None:
        child = self._children.pop(event.get("pid", -1), None)
        if child is not None:
            child.exit_code = event["exit_code"]


def unwritable(error: OSError) -> str:
    """What to do about a temporary file or folder that cannot be written."""
    what = error.filename or "the temporary folder"
    return f"{what} cannot be written: {error.strerror}; set TMPDIR to a folder with free space"
