"""The processes that vLLM starts below an engine's own, and whether one of them has died."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

GRACE_S = 1.0
"""Seconds that an engine has to say itself why one of its processes died."""

_LOOK_S = 0.02
_TITLE = re.compile(r"^\S*::((?:EngineCore|Worker|DPCoordinator)\w*)")
"""What vLLM calls its processes: `VLLM::EngineCore_DP0`, `VLLM::Worker_TP1`; the prefix is a setting of its own.

Others, as compilers, resource trackers and helpers of tokenizers, come and go.
"""


class Watch:
    """The processes of one engine that have to live for as long as it does.

    Args:
        leader: the engine's own process, once it is up.
        clock: in seconds.
    """

    def __init__(self, leader: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._processes = _titled(leader)
        self._found: float | None = None

    def dead(self) -> str | None:
        """The name of a process that has died, waited for or not; None while all live."""
        return next((name for process, name in self._processes if not _lives(process)), None)

    def dead_within(self, seconds: float) -> str | None:
        """The name of a process that has died by then: one that was just killed takes a moment to be gone."""
        until = self._clock() + seconds
        while (name := self.dead()) is None and self._clock() < until:
            time.sleep(_LOOK_S)
        return name

    def overdue(self) -> str | None:
        """The name of a process that was found dead `GRACE_S` ago, or earlier."""
        if (name := self.dead()) is None:
            return None
        if self._found is None:
            self._found = self._clock()
        return name if self._clock() - self._found >= GRACE_S else None


def _titled(leader: int) -> list[tuple[psutil.Process, str]]:
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(leader).children(recursive=True):
            with suppress(psutil.Error):
                if title := _TITLE.match(" ".join(process.cmdline())):
                    found.append((process, title[1]))
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
