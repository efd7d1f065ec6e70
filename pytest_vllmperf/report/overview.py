"""The table of a run's checks: verdict, value, change against the baseline with its interval, what it can detect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS, AllMetrics
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.verdict import LimitVerdict, MetricVerdict, Outlook, Status, Verdict
from pytest_vllmperf.report import units
from pytest_vllmperf.report.judged import beyond, headline
from pytest_vllmperf.report.layout import GAP, aligned, first_that_fits
from pytest_vllmperf.report.names import Names
from pytest_vllmperf.report.rows import NOT_GATED, has_something_to_tell
from pytest_vllmperf.report.verdicts import confidence, folded, moved_words

_NONE: Final = "-"
_INDENT: Final = "  "
_LEAST_NAME: Final = 12
"""Columns below which a name says nothing."""

_DETECTS: Final = "detects"
_CAPTION: Final = f"{_DETECTS}: smallest slowdown that the baseline detects (80 % of the time)"
_CPU: Final = (
    "not gated: on a CPU, throughput and latency depend on what else the machine does. "
    "To gate them: --vllmperf-gate='exact clock'"
)


@dataclass(frozen=True)
class _Row:
    """One metric of one check, as it is shown."""

    metric: str
    status: str
    now: str
    change: str
    detects: str
    detectable: float | None = None

    @property
    def label(self) -> str:
        return METRICS[self.metric].label


@dataclass(frozen=True)
class Overview:
    """The checks of a run, and how they are shown.

    Attributes:
        checks: all, in any order.
        names: what the summary calls them.
        outlooks: what recorded baselines will be able to tell, by check.
        every: whether every metric has a row, as with `-v`.
    """

    checks: Sequence[CheckRecord]
    names: Names
    outlooks: Mapping[CheckId, Sequence[Outlook]] = field(default_factory=dict)
    every: bool = False

    def lines(self) -> list[str]:
        """The table, and what is to be known to read it; nothing without a check."""
        if not self.checks:
            return []
        found = [(check, self._rows(check)) for check in sorted(self.checks, key=lambda one: (one.module, one.name))]
        table = self._table(found)
        return [*table, *self._legend(found, detects=any(line.endswith(_DETECTS) for line in table[:2]))]

    def _rows(self, check: CheckRecord) -> list[_Row]:
        """One row, of the metric that says most; or all."""
        outlook = {one.metric: one for one in self.outlooks.get(check.id, ())}
        judged = [*((one, True) for one in check.verdict.metrics), *((one, False) for one in check.verdict.information)]
        if not self.every and (decided := beyond(check.verdict)):
            return [_limit(decided[0], judged)]
        if not judged:
            return [_unjudged(check, metric, outlook.get(metric)) for metric in _shown(check, every=self.every)]
        chosen = judged if self.every else [_headline(check.verdict)]
        return [_judged(one, outlook.get(one.metric), gated=gated) for one, gated in chosen]

    def _table(self, found: Sequence[tuple[CheckRecord, Sequence[_Row]]]) -> list[str]:
        one_each = all(len(rows) == 1 for _, rows in found)
        ungated = any(row.detects == NOT_GATED for _, rows in found for row in rows)
        layouts = [lambda: self._in_blocks(found)]
        if one_each and not ungated:
            layouts.insert(0, lambda: self._in_lines(found, detects=False))
        if one_each:
            layouts.insert(0, lambda: self._in_lines(found, detects=True))
        return first_that_fits(layouts, self.names.width)

    def _in_lines(self, found: Sequence[tuple[CheckRecord, Sequence[_Row]]], *, detects: bool) -> list[str]:
        """A line for each check. A metric that all of them show stands in the head alone."""
        labels = {rows[0].label for _, rows in found}
        (same,) = labels if len(labels) == 1 else ("",)
        head = ["test", "verdict", "" if same else "metric", same or "now", _change_head(self.checks)]
        cells = [[*head, _DETECTS if detects else ""]]
        for check, (row,) in found:
            label = "" if same else row.label
            tail = [row.now, row.change, row.detects if detects else ""]
            cells.append([self.names.whole(check.id), check.verdict.status.value, label, *tail])
        return aligned(_without_empty(cells), right=(3,))

    def _in_blocks(self, found: Sequence[tuple[CheckRecord, Sequence[_Row]]]) -> list[str]:
        """A line for each check with its whole name, and its metrics indented below."""
        verdict = max(len("verdict"), *(len(check.verdict.status.value) for check, _ in found))
        room = max(_LEAST_NAME, self.names.width - verdict - len(GAP))
        names = self.names.within(room)
        heads = aligned([("test", "verdict"), *((names[check.id], check.verdict.status.value) for check, _ in found)])
        titles = ("metric", "", "now", _change_head(self.checks), _DETECTS)
        cells = [titles, *(self._block_row(row) for _, rows in found for row in rows)]
        body = iter(f"{_INDENT}{line}" for line in aligned(_without_empty(cells), right=(2,)))
        lines = [heads[0], next(body)]
        for head, (_, rows) in zip(heads[1:], found, strict=True):
            lines += [head, *(next(body) for _ in rows)]
        return lines

    def _block_row(self, row: _Row) -> tuple[str, ...]:
        """With `-v` each metric has a verdict of its own."""
        return (row.label, row.status if self.every else "", row.now, row.change, row.detects)

    def _legend(self, found: Sequence[tuple[CheckRecord, Sequence[_Row]]], *, detects: bool) -> list[str]:
        """What the columns mean, what is not shown, and what does not decide."""
        known = [row.detectable for _, rows in found for row in rows if row.detectable is not None]
        told = [_CAPTION if detects else _smallest(known)] if known else []
        told += [] if self.every else list(_left(self.checks))
        told += [_CPU] if any(map(_ungated_clock, self.checks)) else []
        return [line for text in told for line in folded(text, self.names.width)]


def _without_empty(cells: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The same without the heads of columns in which nothing stands."""
    columns = list(zip(*cells, strict=True))
    empty = {number for number, column in enumerate(columns) if all(cell in ("", _NONE) for cell in column[1:])}
    return [["" if number in empty else cell for number, cell in enumerate(row)] for row in cells]


def _headline(verdict: Verdict) -> tuple[MetricVerdict, bool]:
    """The metric that says most, of a verdict with at least one."""
    found = headline(verdict)
    assert found is not None, "a check without a judged metric has no such row"
    return found


def _judged(one: MetricVerdict, outlook: Outlook | None, *, gated: bool) -> _Row:
    noise = one.noise if outlook is None else outlook.noise
    detects = NOT_GATED if not gated else "exact" if METRICS[one.metric].exact else _NONE
    detectable = noise.detectable if gated and noise is not None and not one.against else None
    if detectable is not None:
        detects = units.plain_percent(detectable)
    status, change = one.status.value if gated else NOT_GATED, moved_words(one) or _NONE
    return _Row(one.metric, status, units.value(one.metric, one.now), change, detects, detectable)


def _limit(one: LimitVerdict, judged: Sequence[tuple[MetricVerdict, bool]]) -> _Row:
    """A limit that decided, with what the baseline says of its metric. The failure has the limit itself."""
    moved = next((moved_words(each) for each, _ in judged if each.metric == one.metric), "")
    return _Row(one.metric, one.status.value, units.value(one.metric, one.now), moved or _NONE, _NONE)


def _unjudged(check: CheckRecord, metric: str, outlook: Outlook | None) -> _Row:
    gated = metric in check.judging.gate
    detects = NOT_GATED if not gated and check.verdict.status is Status.RECORDED else _NONE
    if outlook is not None:
        detects = units.plain_percent(outlook.noise.detectable)
    elif gated and METRICS[metric].exact:
        detects = "exact"
    value = units.value(metric, check.values[metric]) if metric in check.values else _NONE
    status = check.verdict.status.value if gated else NOT_GATED
    return _Row(metric, status, value, _NONE, detects, None if outlook is None else outlook.noise.detectable)


def _shown(check: CheckRecord, *, every: bool) -> list[str]:
    """Metrics of a check that was not judged: what it gates that noise moves, else the clock."""
    gated = [name for name in check.judging.gate if name in check.values]
    if every:
        return [*gated, *(name for name in CLOCK_METRICS if name in check.values and name not in gated)] or [_FIRST]
    noisy = [name for name in gated if not METRICS[name].exact]
    return [*noisy, *(name for name in CLOCK_METRICS if name in check.values), *gated, _FIRST][:1]


_FIRST: Final = AllMetrics.output_throughput.name


def _change_head(checks: Sequence[CheckRecord]) -> str:
    found = {one.confidence for check in checks for one in (*check.verdict.metrics, *check.verdict.information)}
    known = [one for one in found if one is not None]
    interval = f"{confidence(known[0])} CI" if len(known) == 1 else "CI"
    return f"change [{interval}]" if known else "change"


def _smallest(detectable: Sequence[float]) -> str:
    """The same for all rows, where there is no column for it."""
    ends = dict.fromkeys(map(units.plain_percent, (min(detectable), max(detectable))))
    return f"smallest slowdown that the baselines detect (80 % of the time): {' to '.join(ends)}"


def _left(checks: Sequence[CheckRecord]) -> Iterator[str]:
    """How many gated metrics are OK and have no row."""
    ok = [
        one
        for check in checks
        for one in check.verdict.metrics
        if not has_something_to_tell(one) and one is not _headline(check.verdict)[0]
    ]
    exact = sum(METRICS[one.metric].exact for one in ok)
    told = [f"{units.many(len(ok) - exact, 'other gated metric')} OK"] if len(ok) > exact else []
    told += [f"{units.many(exact, 'exact metric')} unchanged"] if exact else []
    if told:
        yield f"{', '.join(told)} (-v shows them)"


def _ungated_clock(check: CheckRecord) -> bool:
    """Whether a check on a CPU leaves the clock out of its gate, as the automatic one does there."""
    device = check.session.environment.hard.get("device", "")
    return device == "cpu" and not set(CLOCK_METRICS) & set(check.judging.gate)
