"""Reports of tests without secrets: also what pytest itself shows of a test, such as its locals and its output."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from _pytest._code.code import TerminalRepr

from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.records.spec import EngineSpec


class Redaction:
    """The outermost hooks on each report: what they return is what is shown.

    Args:
        redactor: of this process.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take secrets out of what a report shows."""
        report = yield
        if call.excinfo is not None:
            self._learn(call.excinfo)
        self._redact(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """The same for what a module shows while it is imported."""
        report = yield
        self._redact(report)
        return report

    def _redact(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        report.longrepr = self._redacted(report.longrepr)
        if isinstance(reason := getattr(report, "wasxfail", None), str):
            report.wasxfail = self._redactor.text(reason)  # type: ignore[union-attr]  # set by pytest on some reports
        report.sections = [(name, self._redactor.text(text)) for name, text in report.sections]

    def _learn(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Engines that a test made itself are known by its local names alone."""
        for entry in excinfo.traceback:
            for value in list(entry.frame.f_locals.values()):
                if isinstance(value, EngineSpec):
                    self._redactor.learn(value)

    def _redacted(self, shown: Any) -> Any:
        """A text, or what pytest builds of texts; other things as they are."""
        if isinstance(shown, str):
            return self._redactor.text(shown)
        if isinstance(shown, (list, tuple)):
            return type(shown)(map(self._redacted, shown))
        if isinstance(shown, TerminalRepr):
            for name, value in list(vars(shown).items()):
                setattr(shown, name, self._redacted(value))
        return shown
