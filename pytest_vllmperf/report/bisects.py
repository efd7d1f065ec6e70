"""A bisection in words: how far it is, and what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tabulate import tabulate

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.records.bisect import Attempt, Bisection, Judgement, Result, Step
from pytest_vllmperf.report import kernels, units
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded

_MINUTE_S: Final = 60
_NO_GPU: Final = "no kernel table: nothing ran on a GPU, whose kernels a device pass records"


def progress(done: int, left: int, seconds: float | None, doing: str) -> str:
    """One line about how far a search is.

    Args:
        done: versions that were tried.
        left: versions that are still expected; 0 in the last run, of the first bad one and the last good one.
        seconds: that this takes; None where nobody knows yet.
        doing: what is done now.
    """
    time = "" if seconds is None else f", about {_span(seconds)} left"
    where = f"version {done + 1} of about {done + left}" if left else "last run"
    return f"{where}{time}: {doing}"


def change(attempt: Attempt) -> str:
    """The change that a run measured: its metric, interval, both values and the margin; else why there is none."""
    return ", ".join(_parts(attempt))


def _parts(attempt: Attempt) -> list[str]:
    if attempt.followed is None:
        return [attempt.reason]
    name = attempt.followed.metric
    parts = [f"{METRICS[name].label} {_interval(attempt)}".rstrip()]
    if attempt.before is not None:
        parts.append(units.pair(name, attempt.before, attempt.now))
    if attempt.margin is not None and attempt.low is not None:
        parts.append(f"margin {units.margin(attempt.margin)}")
    return parts


def _told(head: str, attempt: Attempt, width: int) -> list[str]:
    """The change below or behind what it is of; lines end between parts, so that a value keeps its unit."""
    text = [f"{head}:"]
    for place, part in enumerate(parts := _parts(attempt)):
        part = f"{part}," if place < len(parts) - 1 else part
        if len(text[-1]) + 1 + len(part) <= width:
            text[-1] += f" {part}"
        else:
            text.append(f"    {part}")
    return [line for one in text for line in folded(one, width)]


def lines(found: Bisection, width: int = WIDTH) -> list[str]:
    """What a search came to.

    Args:
        found: with its last run.
        width: columns of a line.
    """
    first, last = found.points[0], found.points[-1]
    text = [*_head(found, width), *_final(found, width)]
    if (end := found.step(last.id)) is not None and end.last is not None and found.good > 0:
        text += _told(f"{last.short} against {first.short}", end.last, width)
    runs = sum(len(step.attempts) for step in found.steps) + (found.final.runs if found.final else 0)
    seconds = sum(step.seconds for step in found.steps) + (found.final.seconds if found.final else 0.0)
    text += ["", *_table(found, width), ""]
    text.append(f"{len(found.steps)} of {units.many(len(found.points) - 1, 'version')} tried, "
                f"{units.many(runs, 'run')} of the test, {_starts(found)}{_span(seconds)}")  # fmt: skip
    return [*text, *_kernels(found, width)]


def _starts(found: Bisection) -> str:
    """How many engines were started; of a run that left no report nobody knows."""
    number, every = found.engine_starts
    if not number and not every:
        return ""
    return f"{'' if every else 'at least '}{units.many(number, 'engine start')}, "


def _head(found: Bisection, width: int) -> list[str]:
    bad = found.points[found.bad]
    if found.exact:
        return folded(f"{found.test}: the first bad version is {bad.label}", width)
    names = ", ".join(point.short for point in found.suspects)
    return folded(
        f"{found.test}: the first bad version is one of {names}; those before {bad.short} could not be judged", width
    )


def _final(found: Bisection, width: int) -> list[str]:
    """How the first bad version compares with the last good one."""
    final = found.final
    if final is None:
        return []
    before, after = found.points[found.good], found.points[found.bad]
    head = f"{after.short} against {before.short}{', the last good one' if found.good else ''}"
    if final.attempt is None:
        return folded(f"{head}: not measured: {final.reason}", width)
    one = final.attempt
    text = _told(head, one, width)
    if one.judgement is Judgement.GOOD:
        text += folded(
            f"NOT CONFIRMED: against {before.short} alone it is {one.status}. The change came in more than one step, "
            f"or lies close to the margin, or {before.short} is not good after all: judge that one once more, with a "
            "smaller margin or with more engine starts (--vllmperf-margin, --vllmperf-max-engines)",
            width,
        )
    elif one.judgement is not Judgement.BAD:
        text += folded(f"NOT CONFIRMED: that did not decide: {one.reason}", width)
    if one.others:
        text += folded(f"regressed besides: {', '.join(METRICS[name].label for name in one.others)}", width)
    return text


def _table(found: Bisection, width: int) -> list[str]:
    """A row for each version that was tried, in the order of versions; reasons stand below it."""
    tried = [(point, step) for point in found.points if (step := found.step(point.id)) is not None]
    label = METRICS[found.followed.metric].label
    heads = ["version", "result", f"{label} against {found.points[0].short}", "runs"]
    rows = [[point.short, step.result.value, _measured(step), str(len(step.attempts))] for point, step in tried]
    text = tabulate(rows, heads, tablefmt="plain", disable_numparse=True, colalign=("left", "left", "left", "right"))
    reasons = [
        part
        for point, step in tried
        if step.result is Result.SKIPPED
        for part in folded(f"{point.short} was skipped: {step.reason}", width)
    ]
    return [*(line.rstrip() for line in text.splitlines()), *reasons]


def _measured(step: Step) -> str:
    return "" if step.last is None else _interval(step.last)


def _interval(attempt: Attempt) -> str:
    shown = units.percent(attempt.change)
    if attempt.low is None or attempt.high is None or attempt.confidence is None:
        return shown
    return f"{shown} {units.percent_range(attempt.low, attempt.high)} ({attempt.confidence * 100:.4g} % CI)"


def _kernels(found: Bisection, width: int) -> list[str]:
    """The kernels of the first bad version beside those of the last good one, or why there are none."""
    attempt = None if found.final is None else found.final.attempt
    compared = None if attempt is None else attempt.attribution
    if compared is None or compared.others is None:
        return ["", *folded(_why_none(compared), width)]
    sides = (found.points[found.good].label, found.points[found.bad].label)
    return ["", *kernels.comparison_lines(compared, sides, width=width)]


def _why_none(compared: Attribution | None) -> str:
    reasons: Sequence[str] = () if compared is None else (compared.no_pass_before, compared.no_pass_after)
    told = "; ".join(dict.fromkeys(one for one in reasons if one))
    return f"no kernel table: {told}" if told else _NO_GPU


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE_S else f"{seconds / _MINUTE_S:.0f} min"
