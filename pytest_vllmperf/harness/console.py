"""Progress for a person at the terminal. The one place that writes outside pytest's own report."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_vllmperf.report.escaping import terminal_line

_QUIET_S = 10.0
"""Nothing is said in a log of what takes less."""
_REPEAT_S = 60.0
"""A log gets a line at most this often."""


class Console:
    """A line that says what is going on: rewritten in place on a terminal, elsewhere at most one a minute.

    An xdist worker has no terminal: it says on stderr what takes long, and which worker says so. Silent with -q.

    Args:
        config: of the run.
        clock: in seconds.
    """

    def __init__(self, config: pytest.Config, clock: Callable[[], float] = time.monotonic) -> None:
        manager = config.pluginmanager
        self._reporter: Any = manager.get_plugin("terminalreporter")
        self._capture: Any = manager.get_plugin("capturemanager")
        self._clock = clock
        self._worker: str | None = getattr(config, "workerinput", {}).get("workerid")
        verbose = config.getoption("verbose", 0)  # unknown with -p no:terminal
        heard = verbose >= 0 and (self._reporter is not None or self._worker is not None)
        self._live = heard and self._worker is None and bool(getattr(self._reporter, "isatty", False))
        self._plain = heard and not self._live
        self._shown = False
        self._lock = threading.RLock()
        self._first: float | None = None
        self._last: float | None = None

    @property
    def live(self) -> bool:
        """Whether its line is rewritten in place."""
        return self._live

    def progress(self, doing: str, waited: float) -> None:
        """Show what is going on and for how many seconds. May be called from several threads."""
        text = f"{self._who}: {terminal_line(doing)}" + (f" ({waited:.0f} s)" if waited >= 1 else "")
        if self._live:
            with self._lock:
                self._rewrite(text)
        elif self._plain and self._due(waited):
            self._write(f"{text}\n", newline_first=True)

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self._live or self._plain:
            self.clear()
            self._write(f"{self._who}: {terminal_line(line)}\n", newline_first=True)

    def clear(self) -> None:
        """Take the line away, so that pytest's own output goes on where it was."""
        with self._lock:
            if self._shown:
                self._shown = False
                self._write("\r\x1b[K", newline_first=False)

    @property
    def _who(self) -> str:
        return "vllmperf" if self._worker is None else f"vllmperf {self._worker}"

    def _due(self, waited: float) -> bool:
        """Whether a plain log should say it: something takes long, and nothing was said for a minute."""
        now = self._clock()
        self._first = now if self._first is None else self._first
        long = max(waited, now - self._first) >= _QUIET_S
        if not long or (self._last is not None and now - self._last < _REPEAT_S):
            return False
        self._last = now
        return True

    def _rewrite(self, text: str) -> None:
        width = int(self._reporter._tw.fullwidth)
        self._write(f"\r\x1b[K{text[: width - 1]}", newline_first=not self._shown)
        self._shown = True

    def _write(self, text: str, *, newline_first: bool) -> None:
        with self._capture.global_and_fixture_disabled():
            if self._worker is not None:
                sys.stderr.write(f"\n{text}")
                sys.stderr.flush()
                return
            if newline_first:
                self._reporter.ensure_newline()
            self._reporter.write(text, flush=True)
