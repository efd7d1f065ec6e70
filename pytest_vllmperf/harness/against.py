"""What is checked of a reference interpreter before anything starts, and how the header tells of it."""

from __future__ import annotations

import sys

from pytest_vllmperf.engines.interpreter import look
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.settings import Settings, Update

_OPTION = "--vllmperf-against"
_PYTHON = "--vllmperf-python"


def check(python: str | None, settings: Settings) -> None:
    """See that a reference can be measured in turns with in this run; does nothing without one.

    Args:
        python: absolute path of its interpreter; empty for none.
        settings: the run's.

    Raises:
        SpecError: for a run that records, or an interpreter that is none or has no vLLM.
    """
    if not python:
        return
    if (flag := _recording(settings)) is not None:
        raise SpecError(
            f"{_OPTION} measures in turns with a reference, and such measurements are not stored. Leave {flag} "
            f"out, or turn the reference off ({_OPTION}=off, and against='off' in markers that name one)"
        )
    look(f"{_OPTION}: ", python, {})


def check_python(python: str) -> None:
    """See that engines can run on another interpreter; does nothing without one.

    Args:
        python: its absolute path; empty for none.

    Raises:
        SpecError: for an interpreter that is none, or has no vLLM.
    """
    if python:
        look(f"{_PYTHON}: ", python, {})


def header(python: str | None, own: str = "") -> list[str]:
    """The lines of pytest's header about the interpreters of the run.

    Args:
        python: absolute path of the reference's, checked; empty for none.
        own: absolute path of the one that engines run on, checked; empty for that of this process.
    """
    lines = [f"vllmperf: engines run on {look(f'{_PYTHON}: ', own, {}).name}"] if own else []
    if not python:
        return lines
    found = look(f"{_OPTION}: ", python, {})
    whose = "the engines'" if own else "this interpreter's"
    same = f", the same vLLM as {whose}: an A/A run" if found.same_as(own or sys.executable, {}) else ""
    return [*lines, f"vllmperf: checks are measured in turns with {found.name}{same}"]


def _recording(settings: Settings) -> str | None:
    if settings.append:
        return "--vllmperf-append"
    flags = {Update.NONE: None, Update.NEW: "--vllmperf-update-new", Update.ALL: "--vllmperf-update"}
    return flags[settings.update]
