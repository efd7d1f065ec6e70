"""How a check or an assertion fails its test."""

from __future__ import annotations

from typing import NoReturn

from pytest_vllmperf.errors import CheckFailed


def fail(text: str, line: tuple[str, int] | None = None, log_tail: str = "", *, verdict: bool = False) -> NoReturn:
    """Fail the running test with this text and no traceback.

    Args:
        text: one or more lines for the report.
        line: the user's file and line; None where the traceback leads there.
        log_tail: the end of the engine's log, where an engine failed.
        verdict: whether it fails by nothing but a verdict on performance.

    Raises:
        CheckFailed: always.
    """
    __tracebackhide__ = True
    raise CheckFailed(text, line, log_tail, verdict=verdict)
