"""What is checked of a reference interpreter before anything starts, and how the header tells of it."""

from __future__ import annotations

import sys

from pytest_vllmperf.engines.interpreter import look
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.settings import Settings, Update

_OPTION = "--vllmperf-against"


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


def header(python: str | None) -> list[str]:
    """The lines of pytest's header about the reference of the run.

    Args:
        python: absolute path of its interpreter, checked; empty for none.
    """
    if not python:
        return []
    found = look(f"{_OPTION}: ", python, {})
    same = ", the same vLLM as this interpreter's: an A/A run" if found.same_as(sys.executable, {}) else ""
    return [f"vllmperf: checks are measured in turns with {found.name}{same}"]


def _recording(settings: Settings) -> str | None:
    if settings.append:
        return "--vllmperf-append"
    flags = {Update.NONE: None, Update.NEW: "--vllmperf-update-new", Update.ALL: "--vllmperf-update"}
    return flags[settings.update]
