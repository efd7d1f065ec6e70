"""Trends out of a history: what is compared with what, where the level changed, and what came with it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.errors import HistoryError
from pytest_vllmperf.history import words
from pytest_vllmperf.history.choosing import Choice, Metrics
from pytest_vllmperf.history.reading import History, Series, Value
from pytest_vllmperf.records.trends import NOT_MEASURED, Break, SeriesId, Shift, Trend, Trends
from pytest_vllmperf.stats.changes import MAX_P, WINDOW, ChangePoint, change_points

MIN_CHANGE: Final = 0.01
"""Changes of a noisy metric up to this fraction are not shown; of an exact one, every change is."""
LEAST_WINDOW: Final = 10
"""With smaller windows hardly any change stands out."""
_EXACT: Final = "exact"
_FEW: Final = 4
"""With fewer values no change can be told from noise, unless there is no noise at all."""
_NEAR: Final = 2
"""So many runs away a difference is looked for, where there is none at the change itself."""
_NAMED: Final = 3
"""So many names stand in a note; the others are counted."""

Check = tuple[str, str, int, str]


@dataclass(frozen=True)
class Rule:
    """What counts as a change.

    Attributes:
        window: values that are looked at together.
        max_p: allowed chance of a change that is none.
        min_change: smaller changes of a noisy metric do not count, as a fraction.
    """

    window: int = WINDOW
    max_p: float = MAX_P
    min_change: float = MIN_CHANGE


def find(history: History, choice: Choice, rule: Rule) -> Trends:
    """The trends of the chosen series, with their changes.

    Metrics that are not chosen are analysed as well: their changes are counted, so that none is missed in silence.

    Args:
        history: all that is stored.
        choice: what is to be shown.
        rule: what counts as a change.

    Raises:
        SpecError: for a metric that does not exist.
        HistoryError: where nothing is chosen.
    """
    metrics = Metrics(choice.words, [one.id.metric for one in history.series])
    concerned = [one for one in history.series if choice.concerns(one.id)]
    chosen = [one for one in concerned if metrics.include(one.id.metric, one.metric)]
    if history.series and not chosen:
        raise HistoryError("the history has no value of what was asked for: see --test, --metrics and --profile")
    newest = _newest(concerned)
    trends = tuple(trend for one in chosen for trend in _trends(one, rule, newest))
    shown = {one.id for one in chosen}
    others = (trend for one in concerned if one.id not in shown for trend in _trends(one, rule, newest))
    hidden = sum(len(trend.shifts) for trend in others)
    return Trends(trends, len(history.runs), hidden, tuple(_notes(history, concerned, trends)))


def _trends(series: Series, rule: Rule, newest: Mapping[Check, float]) -> Iterator[Trend]:
    """A trend for each hard environment, in the order in which they began.

    Values of one hard environment are compared even where others lie in between, as of two machines in turns.
    """
    counted = [one for one in series.values if not one.left_out]
    groups: dict[str, list[int]] = {}
    for at, one in enumerate(counted):
        groups.setdefault(one.place.hard_text, []).append(at)
    left_out = tuple(Counter(one.left_out for one in series.values if one.left_out).items())
    missing = _missing(series.values[-1], newest[_check(series.id)])
    for places in groups.values():
        values = [counted[at] for at in places]
        first = places[0]
        yield Trend(
            id=series.id,
            metric=series.metric,
            times=tuple(one.time for one in values),
            values=tuple(float(one.value) for one in values if one.value is not None),
            runs=tuple(one.run for one in values),
            shifts=tuple(_shift(one, values, series.metric.better) for one in _changes(series, values, rule)),
            began=_break(counted[first - 1], counted[first]) if first else None,
            left_out=left_out,
            missing=missing,
        )
    if not groups:
        yield Trend(series.id, series.metric, (), (), (), left_out=left_out, missing=missing)


def _changes(series: Series, values: Sequence[Value], rule: Rule) -> list[ChangePoint]:
    least = 0.0 if series.metric.kind == _EXACT else rule.min_change
    numbers = [one.value for one in values if one.value is not None]
    return change_points(numbers, window=rule.window, max_p=rule.max_p, min_magnitude=least)


def _shift(found: ChangePoint, values: Sequence[Value], better: str) -> Shift:
    before, after = values[found.at - 1], values[found.at]
    changed = words.soft_changes(before.place, after.place)
    return Shift(
        at=found.at,
        before=found.before,
        after=found.after,
        change=found.change,
        worse=(found.after < found.before) == (better == "higher"),
        p_value=found.p_value,
        last_before=before.run,
        first_after=after.run,
        changed=changed,
        unchanged=words.unchanged(before.place, after.place),
        nearby="" if any(map(words.may_be_a_cause, changed)) else _nearby(found.at, values),
    )


def _nearby(at: int, values: Sequence[Value]) -> str:
    """The nearest difference that may be the cause, and how far away it is."""
    for away in range(1, _NEAR + 1):
        for side, word in ((at - away, "before"), (at + away, "after")):
            if 1 <= side < len(values):
                changed = words.soft_changes(values[side - 1].place, values[side].place)
                if told := list(filter(words.may_be_a_cause, changed)):
                    return f"{', '.join(told)} {away} {'run' if away == 1 else 'runs'} {word} this change"
    return ""


def _break(before: Value, after: Value) -> Break:
    return Break(before.run, after.run, words.hard_changes(before.place, after.place))


def _check(one: SeriesId) -> Check:
    return one.test, one.check, one.measurement, one.profile


def _newest(series: Iterable[Series]) -> dict[Check, float]:
    """When each check was measured last."""
    found: dict[Check, float] = {}
    for one in series:
        found[_check(one.id)] = max(found.get(_check(one.id), one.values[-1].time), one.values[-1].time)
    return found


def _missing(last: Value, newest: float) -> str:
    """Why the newest measurement of a check has no value of a metric; empty where it has."""
    return NOT_MEASURED if last.time < newest else last.left_out


def _notes(history: History, series: Sequence[Series], trends: Sequence[Trend]) -> Iterator[str]:
    """What is not in the trends although it might be expected there."""
    runs = [run for run in history.runs if not run.recorded]
    if runs and not runs[-1].complete:
        yield f"the newest run, of {runs[-1].minute}, is not complete: tests may be missing"
    if runs and not any(value.run.id == runs[-1].id for one in series for value in one.values[-1:]):
        yield f"the newest run, of {runs[-1].minute}, has no value of any of these tests"
    yield from _absent(series)
    gone: dict[str, list[str]] = {}
    for trend in {trend.id: trend for trend in trends if trend.missing}.values():
        gone.setdefault(trend.missing, []).append(f"{trend.id.subject} {trend.metric.label}")
    for why, names in gone.items():
        yield f"{why} when its check was measured last: {_some(names)}"
    few = sum(0 < len(trend.values) < _FEW for trend in trends)
    if few:
        yield f"{few} of {len(trends)} series have fewer than {_FEW} values, too few to find a change in noise"


def _absent(series: Sequence[Series]) -> Iterator[str]:
    """Checks that the newest run on their hardware does not have."""
    last: dict[str, dict[Check, Value]] = {}
    for one in series:
        value, of_profile = one.values[-1], last.setdefault(one.id.profile, {})
        known = of_profile.get(_check(one.id))
        if not value.run.recorded and (known is None or known.time < value.time):
            of_profile[_check(one.id)] = value
    for profile, checks in last.items():
        if not checks:
            continue
        newest = max(checks.values(), key=lambda value: (value.run.started, value.run.id)).run
        names = [SeriesId(*check, "").subject for check, value in checks.items() if value.run.id != newest.id]
        if names:
            yield f"not in the newest run on {profile}, of {newest.minute}: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
