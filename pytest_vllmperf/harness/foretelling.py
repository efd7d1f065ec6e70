"""What is known before anything is measured, told once: by the one process, or by the first worker of xdist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from pytest_vllmperf.harness.console import Console
from pytest_vllmperf.harness.foretold import Ahead
from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.report.names import WIDTH

_COLUMNS: Final = "vllmperf_columns"
_FIRST_WORKER: Final = "gw0"
_WIDEST: Final = 120
"""Up to here the text of a failure follows the terminal; longer lines are hard to read."""


def columns(config: pytest.Config) -> int:
    """How wide the text of a failure may be; a worker of xdist is told by its controller."""
    told: dict[str, Any] = getattr(config, "workerinput", {})
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    width = told.get(_COLUMNS, WIDTH) if reporter is None else reporter._tw.fullwidth
    return max(WIDTH, min(int(width), _WIDEST))


class Foretelling:
    """Hooks that tell of tests without a baseline.

    Args:
        ahead: what is known.
        redactor: takes secrets out of what is shown.
        console: shows a line of a worker.
        worker: the worker's name; empty in a process that reports by itself.
    """

    def __init__(self, ahead: Ahead, redactor: Redactor, console: Callable[[], Console], worker: str) -> None:
        self._ahead = ahead
        self._redactor = redactor
        self._console = console
        self._worker = worker

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """In the process that collects and reports; the controller of workers has no items."""
        return [] if self._worker else self._lines(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """In a worker: all know which tests have none, and the first says it."""
        if not self._worker:
            return
        lines = self._lines(session.items)
        if self._worker == _FIRST_WORKER:
            for line in lines:
                self._console().say(line.removeprefix("vllmperf: "))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """A worker has no terminal: it hears of the controller's."""
        node.workerinput[_COLUMNS] = columns(node.config)

    def _lines(self, items: Sequence[pytest.Item]) -> list[str]:
        return [terminal_line(self._redactor.text(line)) for line in self._ahead.of_run(items)]
