"""Absolute limits in words: what a metric may be, what it is, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.verdict import LimitVerdict, Status, Verdict
from pytest_vllmperf.report import units
from pytest_vllmperf.report.names import WIDTH, Names
from pytest_vllmperf.report.verdicts import confidence, folded, wrapped
from pytest_vllmperf.stats import Direction

_INDENT = "  "


def limit_words(one: LimitVerdict) -> str:
    """What a metric may be: `at most 500 ms`."""
    return bound_words(one.metric, one.limit)


def bound_words(metric: str, limit: float) -> str:
    """The same for a limit that was not judged."""
    least = METRICS[metric].better is Direction.HIGHER
    return f"{'at least' if least else 'at most'} {units.value(metric, limit)}"


def value_words(one: LimitVerdict) -> str:
    """What it is, with its interval: `TTFT p99 612 ms [590 ms, 634 ms]`."""
    words = f"{METRICS[one.metric].label} {units.value(one.metric, one.now)}"
    if one.low is None or one.high is None:
        return words
    return f"{words} [{units.value(one.metric, one.low)}, {units.value(one.metric, one.high)}]"


def limit_lines(one: LimitVerdict, width: int = WIDTH) -> list[str]:
    """One limit with all that is known of it.

    Args:
        one: the limit, judged.
        width: columns of a line.
    """
    parts = [f"{one.status.value} {value_words(one)}", f"limit {limit_words(one)}"]
    parts += [units.many(one.engines, "engine start")] if one.engines else []
    parts += [f"{confidence(one.confidence)} CI"] if one.confidence is not None else []
    return wrapped(parts, width=width)


def failure_lines(verdict: Verdict, width: int = WIDTH) -> list[str]:
    """The limits of a check that failed: those that are not kept first.

    Args:
        verdict: of the check.
        width: columns of a line.
    """
    ordered = sorted(verdict.limits, key=lambda one: one.status is Status.OK)
    return [line for one in ordered for line in limit_lines(one, width)]


def remarks(check: CheckRecord, names: Names) -> list[str]:
    """The limits of a check that passed; nothing without any.

    Args:
        check: which passed.
        names: of all checks of the run.
    """
    found = check.verdict.limits
    kept = [one for one in found if one.status is Status.OK]
    lines = []
    if kept:
        told = ", ".join(f"{value_words(one)} ({limit_words(one)})" for one in kept)
        lines += folded(f"{names[check.id]}: within its limits: {told}", names.width)
    if len(kept) < len(found):
        lines += folded(f"{names[check.id]}: cannot be told from its limits:", names.width)
    for one in found:
        if one not in kept:
            lines += [f"{_INDENT}{line}" for line in limit_lines(one, names.width - len(_INDENT))]
    return lines


def warning(verdict: Verdict, status: Status) -> str:
    """What pytest's summary of warnings says of limits with a status; empty where there is none.

    Args:
        verdict: of a check.
        status: such as NOISY.
    """
    found: Sequence[LimitVerdict] = [one for one in verdict.limits if one.status is status]
    if not found:
        return ""
    first = found[0]
    more = f" (and {units.many(len(found) - 1, 'more limit')})" if len(found) > 1 else ""
    return f"{status.value} {value_words(first)}: cannot be told from its limit, {limit_words(first)}{more}"
