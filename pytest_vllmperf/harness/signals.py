"""SIGTERM and SIGHUP end an armed run as Ctrl-C does.

Engines end, temporary files go, and the exit status is pytest's for an interrupted run.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

ENDING = (signal.SIGTERM, signal.SIGHUP)


class EndSignals:
    """Handlers of these signals, where nobody else has set one, be it to ignore them as `nohup` does."""

    def __init__(self) -> None:
        self._session: pytest.Session | None = None
        self._over = False

    def install(self, session: pytest.Session) -> None:
        """Begin to handle them; a process whose main thread is not pytest's cannot."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._session = session
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)

    def ignore(self) -> None:
        """From now on the run ends anyway, and what it writes is not to be cut short."""
        self._over = True

    def restore(self) -> None:
        """Have them end the process at once again."""
        if self._session is None:
            return
        for number in ENDING:
            if signal.getsignal(number) == self._end:
                signal.signal(number, signal.SIG_DFL)

    def _end(self, number: int, _: FrameType | None) -> None:
        if self._over or self._session is None:
            return
        self._over = True  # a second one would cut short how engines end
        why = f"ended by {signal.Signals(number).name}"
        self._session.shouldstop = why  # a test may catch everything
        raise KeyboardInterrupt(why)
