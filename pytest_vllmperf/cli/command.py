"""The parser of the command, and how its failures are reported."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pytest_vllmperf import __version__
from pytest_vllmperf.cli import (
    baselining,
    bisecting,
    comparing,
    doctoring,
    initializing,
    interchanging,
    modelling,
    reporting,
    sweeping,
    trending,
    tuning,
)
from pytest_vllmperf.errors import VllmPerfError, in_one_line
from pytest_vllmperf.report.escaping import terminal_text

_COMMANDS: Final = (
    modelling,
    comparing,
    baselining,
    interchanging,
    reporting,
    tuning,
    sweeping,
    bisecting,
    trending,
    doctoring,
    initializing,
)
"""Modules that each add commands, in the order of the help."""
BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT
DEBUG = "VLLMPERF_DEBUG"
"""The environment variable that shows the traceback of an internal error."""
READER_GONE = 128 + signal.SIGPIPE
"""What a shell reports of a program that writes into a pipe whose reader has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    That is the command's own, 2 with one line on standard error for bad input and for an error of this package, 130
    after Ctrl-C, or 141 where the reader of the output has ended, as in `vllmperf check A.json B.json | head`.
    """
    _show_every_character()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return READER_GONE
    except OSError as error:  # a full disk, say
        _discard_output()
        return _failed(f"standard output cannot be written: {error.strerror or error}")


def _show_every_character() -> None:
    """A character that the encoding of the output does not have is shown as its escape, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: Sequence[str] | None) -> int:
    chosen = parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except VllmPerfError as error:
        return _failed(str(error))
    except OSError as error:
        if error.filename is None:  # that of the output
            raise
        return _failed(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except Exception as error:  # else Python would end with 1, which is a regression's code
        return _failed(_internal(error))


def _internal(error: Exception) -> str:
    """One line about an exception that nobody foresaw; its traceback is shown to those who ask for it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    return f"{in_one_line(error)}; please report it, with the traceback that {DEBUG}=1 shows"


def _failed(message: str, code: int = BAD_INPUT) -> int:
    print(terminal_text(f"vllmperf: {message}"), file=sys.stderr)
    return code


def _discard_output() -> None:
    """Send what is still buffered nowhere: Python flushes both streams when it ends, and reports that this failed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # a stream without a descriptor is not flushed into a pipe
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="vllmperf", description="Commands for vLLM performance tests, used outside a pytest run."
    )
    parser.add_argument("--version", action="version", version=f"pytest-vllmperf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
