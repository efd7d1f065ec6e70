"""Trends as lines of a terminal: what changed, the newest first, with the cause that came with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from pytest_vllmperf.metrics.custom import unit_of
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.records.trends import Break, RunOfHistory, Shift, Trend, Trends
from pytest_vllmperf.report import units
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.report.layout import GAP, aligned
from pytest_vllmperf.report.names import WIDTH, Names
from pytest_vllmperf.report.verdicts import folded

BARS: Final = "▁▂▃▄▅▆▇█"
"""What small bars are made of; a terminal may not have them."""
_SPARK: Final = 12
_LEAST_NAME, _FAIR_NAME = 12, 30
_INDENT: Final = "  "


@dataclass(frozen=True)
class Event:
    """All changes between the same two runs on one kind of hardware.

    Attributes:
        time: when the first value of the new level was measured, in seconds since 1970-01-01 UTC.
        profile: the kind of hardware.
        last_before: the last run before.
        first_after: the first run after.
        cause: what differs between both, in words.
        shifts: the changes, those for the worse first, the largest first.
        not_compared: checks whose values are not compared with those before.
    """

    time: float
    profile: str
    last_before: RunOfHistory
    first_after: RunOfHistory
    cause: str
    shifts: tuple[tuple[Trend, Shift], ...] = ()
    not_compared: tuple[str, ...] = ()


@dataclass
class _Collected:
    time: float
    shifts: list[tuple[Trend, Shift]] = field(default_factory=list)
    subjects: dict[str, None] = field(default_factory=dict)


_Key = tuple[str, RunOfHistory, RunOfHistory, str, bool]


def events(trends: Sequence[Trend]) -> list[Event]:
    """Changes, and places where values are not compared with those before, by the runs that they lie between.

    Returns:
        The newest first.
    """
    found: dict[_Key, _Collected] = {}
    for trend in trends:
        for shift in trend.shifts:
            key = (trend.id.profile, shift.last_before, shift.first_after, cause(shift), True)
            found.setdefault(key, _Collected(trend.times[shift.at])).shifts.append((trend, shift))
        if trend.began is not None:
            one = trend.began
            key = (trend.id.profile, one.last_before, one.first_after, _reason(one), False)
            found.setdefault(key, _Collected(trend.times[0])).subjects[trend.id.subject] = None
    made = [
        Event(one.time, *key[:4], tuple(sorted(one.shifts, key=_rank)), tuple(one.subjects))
        for key, one in found.items()
    ]
    return sorted(made, key=lambda one: -one.time)


def _rank(one: tuple[Trend, Shift]) -> tuple[bool, float]:
    _, shift = one
    return not shift.worse, -abs(shift.change) if shift.change is not None else -float("inf")


def cause(shift: Shift) -> str:
    """What came with a change: `since vLLM 0.32.0 -> 0.33.0, driver 580.95 unchanged; commits 1a2b..5d6e`."""
    same = f"{' and '.join(shift.unchanged)} unchanged" if shift.unchanged else ""
    changed = "since " + ", ".join([*shift.changed, *([same] if same else [])])
    if not shift.changed:
        changed = f"no known difference in the environment{f' ({same})' if same else ''}"
    changed += f", but {shift.nearby}" if shift.nearby else ""
    return f"{changed}; {commits(shift.last_before, shift.first_after)}"


def _reason(one: Break) -> str:
    return f"since {', '.join(one.changed)}; {commits(one.last_before, one.first_after)}"


def commits(before: RunOfHistory, after: RunOfHistory) -> str:
    """The commits of the user's repository between two runs."""
    if before.commit is None and after.commit is None:
        return "commit unknown"
    if before.commit == after.commit and before.dirty == after.dirty:
        return f"same commit {after.shown_commit}"
    return f"commits {before.shown_commit}..{after.shown_commit}"


def lines(found: Trends, *, every: bool = False, width: int = WIDTH, spark: bool = True) -> list[str]:
    """A history in lines: its changes, then what a person should know.

    Args:
        found: what is to be shown.
        every: whether each series has a row, too.
        width: columns of a line.
        spark: whether the terminal can show small bars.
    """
    happened = events(found.trends)
    text = [*folded(headline(found), width), *_events(happened, found.trends, width, spark=spark)]
    if every:
        text += ["", *_every(found.trends, width, spark=spark)]
    told = [part for note in notes(found) for part in folded(f"note: {note}", width)]
    return [*text, *([""] if told else []), *told]


def notes(found: Trends) -> list[str]:
    """What a person should know besides."""
    told = f"{units.many(found.hidden, 'change')} in other metrics; vllmperf history show --metrics all lists them"
    return [*([told] if found.hidden else []), *found.notes]


def headline(found: Trends) -> str:
    """How many changes there are."""
    shifts = [shift for trend in found.trends for shift in trend.shifts]
    where = f"{units.many(len({trend.id for trend in found.trends}), 'metric')} of {units.many(found.runs, 'run')}"
    if not shifts:
        return f"no change found in {where}"
    worse = sum(shift.worse for shift in shifts)
    return (
        f"{units.many(len(shifts), 'change')} in {where}: {worse} for the worse, {len(shifts) - worse} for the better"
    )


def _events(happened: Sequence[Event], trends: Sequence[Trend], width: int, *, spark: bool) -> list[str]:
    several = len({trend.id.profile for trend in trends}) > 1
    shown = [(trend, shift) for event in happened for trend, shift in event.shifts]
    rows = iter(_shift_rows(shown, width, spark=spark))
    text: list[str] = []
    for event in happened:
        place = f"  {event.profile}" if several else ""
        text += ["", *folded(f"{event.first_after.minute}{place}  {event.cause}", width)]
        text += [next(rows) for _ in event.shifts]
        if event.not_compared:
            names = ", ".join(event.not_compared)
            text += folded(f"{_INDENT}NOT COMPARED with the runs before: {names}", width)
    return text


def _shift_rows(shown: Sequence[tuple[Trend, Shift]], width: int, *, spark: bool) -> list[str]:
    """A row for each change, with all columns aligned."""
    cells = [_shift_cells(trend, shift) for trend, shift in shown]
    return _named_rows([trend for trend, _ in shown], cells, width, right=(3,), spark=spark)


def _shift_cells(trend: Trend, shift: Shift) -> list[str]:
    shown = text_of(trend)
    change = units.percent(shift.change) or "new"
    levels = units.joined(shown(shift.before), shown(shift.after))
    return ["WORSE" if shift.worse else "better", trend.metric.label, change, levels]


def _every(trends: Sequence[Trend], width: int, *, spark: bool) -> list[str]:
    """A row for each series: how many values it has, its first and its newest level, and the change in all."""
    known = [trend for trend in trends if trend.values]
    cells = []
    for trend in known:
        first, newest = levels(trend)[0], levels(trend)[-1]
        shown = text_of(trend)
        change = units.percent(newest / first - 1) if first else ""
        cells.append([str(len(trend.values)), trend.metric.label, change, units.joined(shown(first), shown(newest))])
    return _named_rows(known, cells, width, right=(0, 3), spark=spark)


def levels(trend: Trend) -> list[float]:
    """The means of the levels of a trend, in order."""
    if trend.shifts:
        return [trend.shifts[0].before, *(shift.after for shift in trend.shifts)]
    return [fmean(trend.values)] if trend.values else []


def _named_rows(
    trends: Sequence[Trend], cells: Sequence[Sequence[str]], width: int, right: Sequence[int], *, spark: bool
) -> list[str]:
    """Rows with a name behind their first cell, and small bars where there is room for them. No two names look alike.

    Names get the room that the other columns leave: bars stay away rather than that names are cut short.
    """
    if not trends:
        return []
    plain = [[_INDENT + one[0], "", *map(terminal_line, one[1:])] for one in cells]
    drawn = [[*one, bars(trend.values)] for one, trend in zip(plain, trends, strict=True)]
    checks = [_check(trend) for trend in trends]
    names = Names(checks, width)
    longest = max(map(len, names.within(width).values()))
    if not spark or _room(drawn, width) < min(longest, _FAIR_NAME):
        drawn = plain
    within = names.within(max(_LEAST_NAME, _room(drawn, width)))
    return aligned([[row[0], within[check], *row[2:]] for check, row in zip(checks, drawn, strict=True)], right)


def _room(rows: Sequence[Sequence[str]], width: int) -> int:
    """Columns for names beside these rows."""
    return width - max(map(len, aligned(rows))) - len(GAP)


def _check(trend: Trend) -> CheckId:
    return CheckId(TestId.parse(trend.id.test), trend.id.own)


def text_of(trend: Trend) -> Callable[[float], str]:
    """How a person reads a value of a trend."""
    metric = METRICS.get(trend.id.metric)
    return (metric.unit if metric is not None else unit_of(trend.metric.unit)).text


def bars(values: Sequence[float], most: int = _SPARK) -> str:
    """Values as small bars, at most so many: each is a mean of neighbours; a constant is a line in the middle."""
    size = min(most, len(values))
    means = [fmean(values[at * len(values) // size : (at + 1) * len(values) // size]) for at in range(size)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    if low == high:
        return BARS[len(BARS) // 2 - 1] * size
    return "".join(BARS[round((one - low) / (high - low) * (len(BARS) - 1))] for one in means)
