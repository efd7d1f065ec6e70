"""Margins and limits that are looser than when the baseline was recorded. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.report import units
from pytest_vllmperf.report.limits import bound_words
from pytest_vllmperf.verdict import VerdictSettings


def loosened(now: VerdictSettings, stored: Entry | None) -> tuple[str, ...]:
    """Lines about a check that lets pass what it did not when its baseline was recorded.

    Args:
        now: how it is judged.
        stored: the baseline that decides; None without one.
    """
    if stored is None:
        return ()
    judging = stored.judging
    then = VerdictSettings(tuple(judging.gate), judging.margin, judging.margins, limits=judging.limits)
    return (*_margins(then, now), *_limits(then, now))


def _margins(then: VerdictSettings, now: VerdictSettings) -> Iterator[str]:
    wider: defaultdict[tuple[float, float], list[str]] = defaultdict(list)
    for metric in (METRICS[name] for name in now.gate if name in then.gate):
        before, after = then.margin_of(metric), now.margin_of(metric)
        if after > before:
            wider[before, after].append(metric.label)
    for (before, after), labels in wider.items():
        change = f"{units.margin(before)} -> {units.margin(after)}"
        yield f"a wider margin than its baseline was recorded with: {change} ({', '.join(labels)})"


def _limits(then: VerdictSettings, now: VerdictSettings) -> Iterator[str]:
    for name in METRICS.ordered(then.limits):
        before, after = then.limits[name], now.limits.get(name)
        if after is None or METRICS[name].better.sign * (after - before) > 0:
            change = f"{bound_words(name, before)} -> {'no limit' if after is None else bound_words(name, after)}"
            yield f"a looser limit than its baseline was recorded with: {METRICS[name].label} {change}"
