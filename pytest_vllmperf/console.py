"""Progress for a person at the terminal. The one place that writes outside pytest's own report."""

from __future__ import annotations

import time
from typing import Any

import pytest

_QUIET_S = 2.0
_REPEAT_S = 30.0


class Console:
    """A line that says what is going on: rewritten in place on a terminal, repeated rarely elsewhere.

    Silent with -q and in an xdist worker, which has no terminal.
    """

    def __init__(self, config: pytest.Config) -> None:
        manager = config.pluginmanager
        reporter: Any = manager.get_plugin("terminalreporter")
        self._reporter: Any = reporter
        self._capture: Any = manager.get_plugin("capturemanager")
        silent = reporter is None or config.getoption("verbose") < 0 or hasattr(config, "workerinput")
        self._live = not silent and bool(reporter.isatty)
        self._plain = not silent and not self._live
        self._shown = False
        self._last = (0.0, "")

    def progress(self, doing: str, waited: float) -> None:
        """Show what is going on and for how long."""
        text = f"vllmperf: {doing}" + (f" ({waited:.0f} s)" if waited >= 1 else "")
        if self._live:
            self._rewrite(text)
        elif self._plain and waited >= _QUIET_S and self._due(doing):
            self._say(text)

    def clear(self) -> None:
        """Take the line away, so that pytest's own output goes on where it was."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K", newline_first=False)

    def _due(self, doing: str) -> bool:
        """Whether a plain log should say it: something new, or half a minute of the same."""
        now, (then, before) = time.monotonic(), self._last
        if doing == before and now - then < _REPEAT_S:
            return False
        self._last = (now, doing)
        return True

    def _rewrite(self, text: str) -> None:
        width = int(self._reporter._tw.fullwidth)
        self._write(f"\r\x1b[K{text[: width - 1]}", newline_first=not self._shown)
        self._shown = True

    def _say(self, text: str) -> None:
        self._write(f"{text}\n", newline_first=True)

    def _write(self, text: str, *, newline_first: bool) -> None:
        with self._capture.global_and_fixture_disabled():
            if newline_first:
                self._reporter.ensure_newline()
            self._reporter.write(text, flush=True)
