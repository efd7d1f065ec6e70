"""Tables of kernels: of one measurement, and of two beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tabulate import tabulate

from pytest_vllmperf.metrics.kernel_sums import KernelSums
from pytest_vllmperf.metrics.table import AllMetrics
from pytest_vllmperf.records.attribution import Attribution, Change, KernelChange, Seen
from pytest_vllmperf.records.kernels import KernelTime
from pytest_vllmperf.report import units
from pytest_vllmperf.report.attributions import brief, device_parts, paragraph
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded

TOP: Final = 20
"""So many kernels have a row of their own; all others share one."""

TABLE_HEADS: Final = ("kernel", "times", "ms", "share")
COMPARISON_HEADS: Final = ("kernel", "times", "ms", "change", "")

_LEAST_NAME: Final = 20
_MS: Final = 1e3
_MOST_UNSURE: Final = 5


def table_lines(sums: KernelSums, *, top: int = TOP, width: int = WIDTH) -> list[str]:
    """The kernels of one side, with their share of the time.

    Args:
        sums: its kernels.
        top: so many have a row of their own.
        width: columns of a line.
    """
    rows = table_rows(sums, top)
    return [
        *_table([name for name, *_ in rows], [cells for _, *cells in rows], TABLE_HEADS, width),
        *_together(sums.ranks, width),
    ]


def table_rows(sums: KernelSums, top: int = TOP) -> list[list[str]]:
    """The kernels of one side: name, times, milliseconds, share.

    Args:
        sums: its kernels.
        top: so many have a row of their own; all others share one.
    """
    kernels = list(sums.named.values())
    shown, other, total = kernels[:top], [*kernels[top:], sums.rest], sums.seconds
    others = KernelTime("all others", sum(one.times for one in other), sum(one.seconds for one in other))
    rows = [*shown, *([others] if others.times else [])]
    rows.append(KernelTime("total", sum(one.times for one in rows), total))
    return [
        [one.name, _times(one.times), _ms(one.seconds), units.plain_percent(one.seconds / total) if total else ""]
        for one in rows
    ]


def comparison_lines(found: Attribution, sides: tuple[str, str], *, top: int = TOP, width: int = WIDTH) -> list[str]:
    """Two sides beside each other: their GPU time, their clocks, and a table of kernels.

    Args:
        found: both sides, compared; both have kernels.
        sides: what they are called, before and after.
        top: so many kernels have a row of their own, the largest of either side.
        width: columns of a line.
    """
    lines = [part for side, label in zip(("before", "after"), sides, strict=True) if label
             for part in folded(f"{side}: {label}", width)]  # fmt: skip
    lines += paragraph([*_gpu_time(found), *device_parts(found, "run before")], width)
    rows = comparison_rows(found, top)
    lines += _table([name for name, *_ in rows], [cells for _, *cells in rows], COMPARISON_HEADS, width)
    return [*lines, *notes(found, width)]


def notes(found: Attribution, width: int = WIDTH) -> list[str]:
    """What is to be known of a table of two sides.

    Args:
        found: both sides, compared.
        width: columns of a line.
    """
    return [*_unsure(found, width), *_together(found.ranks, width)]


def _together(ranks: int, width: int) -> list[str]:
    """What the figures of kernels are, where they cannot add up to the GPU time."""
    text = f"kernels of {units.many(ranks, 'GPU')} together; GPU time is that of the GPU with the largest"
    return folded(text, width) if ranks > 1 else []


def _gpu_time(found: Attribution) -> list[str]:
    if found.gpu_time is None:
        return []
    text = f"GPU time {units.pair(AllMetrics.gpu_time.name, found.gpu_time.before, found.gpu_time.after)}"
    one = found.interval
    if one is None:
        return [f"{text}  {units.percent(found.gpu_time.relative)}"]
    bounds = f"{units.percent_range(one.low, one.high)} ({one.confidence * 100:.4g} % CI)"
    return [f"{text}  {units.percent(one.change)} {bounds}"]


def comparison_rows(found: Attribution, top: int = TOP) -> list[list[str]]:
    """A row for each of the largest kernels, one for all others, and one for all together.

    Args:
        found: both sides, compared.
        top: so many kernels have a row of their own, the largest of either side.
    """
    by_size = sorted(found.kernels, key=lambda one: -max(one.before.seconds, one.after.seconds))
    shown = by_size[:top]
    rest = [*by_size[top:], *([] if found.others is None else [found.others])]
    rows = [*shown, *([_sum("all others", rest)] if any(_runs(one) for one in rest) else [])]
    rows.append(_sum("total", rows))
    return [[one.name, *_row(one)] for one in rows]


def _runs(one: KernelChange) -> bool:
    return one.before.times > 0 or one.after.times > 0


def _sum(name: str, rows: Sequence[KernelChange]) -> KernelChange:
    sides = [[one.before for one in rows], [one.after for one in rows]]
    before, after = (
        KernelTime(name, sum(one.times for one in side), sum(one.seconds for one in side)) for side in sides
    )
    return KernelChange(name, before, after)


def _row(one: KernelChange) -> list[str]:
    change = one.seconds
    moved = f"{change.difference * _MS:+.3f}"
    if one.seen is not Seen.BOTH:
        there = one.after if one.seen is Seen.NEW else one.before
        return [_times(there.times), _ms(there.seconds), moved, one.seen.value]
    return [
        _times_pair(one.times),
        f"{_ms(change.before)} -> {_ms(change.after)}",
        moved,
        units.percent(change.relative),
    ]


def _times_pair(change: Change) -> str:
    before, after = _times(change.before), _times(change.after)
    return after if before == after else f"{before} -> {after}"


def _times(times: float) -> str:
    return units.count(times)


def _ms(seconds: float) -> str:
    return f"{seconds * _MS:,.3f}"


def _unsure(found: Attribution, width: int) -> list[str]:
    """Which kernels some engines have among their others, so that nothing is known of their change."""
    if not found.unsure:
        return []
    names = [brief(one.name) for one in found.unsure[:_MOST_UNSURE]]
    more = len(found.unsure) - len(names)
    listed = ", ".join([*names, *([f"{more} more"] if more else [])])
    return folded(f"not listed, because they are not among the largest of every engine: {listed}", width)


def _table(names: Sequence[str], cells: Sequence[Sequence[str]], heads: Sequence[str], width: int) -> list[str]:
    """Names are shortened to what the other columns leave of the width."""
    align = ["left", *("right" for _ in heads[1:])]

    def made(shown: Sequence[str]) -> list[str]:
        rows = [[name, *row] for name, row in zip(shown, cells, strict=True)]
        text = tabulate(rows, heads, tablefmt="plain", colalign=align, disable_numparse=True)
        return [line.rstrip() for line in text.splitlines()]

    bare = max(map(len, made(["x" * _LEAST_NAME for _ in names])))
    return made([brief(name, max(_LEAST_NAME, width - bare + _LEAST_NAME)) for name in names])
