"""Runs commands of the user, and pytest, in a session of their own, and ends them before this process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pytest_vllmperf.errors import BisectError

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_END_S: Final = 120.0
"""How long a command has to end its engines after an interrupt."""
_TAIL: Final = 64 * 1024
_SHOWN: Final = 3
_LONGEST: Final = 300
_WATCH: Final = """
read -r over && exit
kill -s TERM -- "-$1"
seconds=0
while kill -s 0 -- "-$1" && [ "$seconds" -lt "$2" ]; do sleep 1; seconds=$((seconds + 1)); done
kill -s KILL -- "-$1"
"""
"""Ends the process group `$1` within `$2` seconds if its standard input ends before a line says that all is over."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: its exit status; negative for a signal.
        output: the end of what a command for the shell wrote to standard output.
        told: the end of what it wrote to standard error, or else to standard output; for a program both.
    """

    code: int
    output: str
    told: str

    @property
    def last_lines(self) -> str:
        """The last lines of what it said, on one line."""
        lines = [" ".join(line.split()) for line in self.told.splitlines() if line.strip()]
        return " / ".join(line[:_LONGEST] for line in lines[-_SHOWN:]) or "it said nothing"


def run(command: str | Sequence[str], log: Path, *, folder: Path | None = None) -> Ended:
    """Run a command to its end.

    Args:
        command: for the shell, whose standard output is wanted; or a program and its arguments, whose is not.
        log: a file that all it writes is added to.
        folder: that it runs in; None for the present one.

    Raises:
        BisectError: when it cannot be started, or the log cannot be written.
    """
    shell = isinstance(command, str)
    with _opened(log) as told, tempfile.TemporaryFile() as output:
        begin = told.seek(0, os.SEEK_END)
        code = _waited(command, folder, output if shell else told, told)
        written, said = _tail(output, 0), _tail(told, begin)
        with _writing(log):
            told.write(written)
        return Ended(code, _text(written), _text(said if said.strip() else written))


def _waited(command: str | Sequence[str], folder: Path | None, output: IO[bytes], errors: IO[bytes]) -> int:
    """Start a command and wait for it; its exit status.

    Raises:
        BisectError: when it cannot be started.
    """
    child = None
    with ExitStack() as watch:  # to the end of `_end`
        try:
            with _deferred() as caught:  # else a signal could come when it runs and nobody knows of it yet
                child = subprocess.Popen(
                    command,
                    shell=isinstance(command, str),  # the user's own command line
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,  # Ctrl-C is handed on once, by `_end`
                )
            for number in caught:
                signal.raise_signal(number)
            watch.enter_context(_watched(child))
            return child.wait()
        except BaseException as error:
            if child is not None:
                _end(child, signal.SIGTERM if isinstance(command, str) else signal.SIGINT)
            if not isinstance(error, OSError):
                raise
            name = command if isinstance(command, str) else command[0]
            raise BisectError(f"{name}: cannot be started: {error.strerror}") from None


@contextmanager
def _watched(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a command also where this process is killed, which no handler sees: the kernel then closes a pipe.

    Else it would go on in its own session, and keep its engines and the device from the search that is started next.
    """
    watch = subprocess.Popen(
        ["sh", "-c", _WATCH, "sh", str(child.pid), str(int(_END_S))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C does not end it before the command
    )
    assert watch.stdin is not None
    try:
        yield
    finally:
        with suppress(BrokenPipeError), watch.stdin as pipe:
            pipe.write(b"over\n")
        watch.wait()


@contextmanager
def _deferred() -> Iterator[list[int]]:
    """Signals that end this process only add to a list meanwhile; those that it ignores stay so."""
    caught: list[int] = []
    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in heard}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _opened(log: Path) -> Iterator[IO[bytes]]:
    with _writing(log):
        file = log.open("a+b", buffering=0)  # so that nothing is left to be written when it is closed
    with file:
        yield file


@contextmanager
def _writing(log: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BisectError(f"{log}: cannot be written: {error.strerror or error}") from None


def _end(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Interrupt a command and all that it started, and kill what is left.

    A shell is terminated: one that is interrupted before its command has begun waits for that. Something is left of a
    command that takes longer than `_END_S`, or whose user interrupts again, and of one that ignores the signal.

    Args:
        child: the command.
        number: the signal.
    """
    try:
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt, ProcessLookupError):
            os.killpg(child.pid, number)
            child.wait(_END_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _tail(file: IO[bytes], begin: int) -> bytes:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(begin, end - _TAIL))
    return file.read(_TAIL)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a bisection as Ctrl-C does, so that what it started is ended with it."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
