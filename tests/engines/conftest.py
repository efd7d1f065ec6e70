"""What tests of engine processes have in common."""

from __future__ import annotations

import time

import psutil

LONG = 60.0
"""Seconds that nothing here takes."""


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    """Return once a process has ended."""
    deadline = time.monotonic() + LONG
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)
