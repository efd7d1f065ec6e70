"""What follows the table of a run: metrics of passed checks that deserve a line, and what is to be known of a check."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.metrics.table import METRICS, AllMetrics
from pytest_vllmperf.records.problems import in_words
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.verdict import MetricVerdict, Status
from pytest_vllmperf.report import attributions, limits, references, units
from pytest_vllmperf.report.host_bound import host_bound
from pytest_vllmperf.report.names import Names
from pytest_vllmperf.report.rows import metric_rows
from pytest_vllmperf.report.verdicts import change_words, folded, limit_words, remedy

_INDENT = "  "
_REMARKABLE = (Status.IMPROVED, Status.NOISY, Status.UNDECIDED)
_TOLD_BY_THE_FAILURE = (Status.BEYOND_LIMIT, Status.REGRESSED, Status.DRIFTED, Status.INVALID)
"""Statuses of checks whose metrics stand in the failure of their test."""


def remarks(checks: Sequence[CheckRecord], names: Names) -> list[str]:
    """All that follows the table, in the order of the checks."""
    ordered = sorted(checks, key=lambda check: (check.module, check.name))
    notes = dict.fromkeys(note for check in checks for note in check.notes)
    lines = [line for check in ordered for line in _of_check(check, names)]
    lines += [line for check in ordered if _passed(check) for line in limits.remarks(check, names)]
    lines += [line for check in checks for line in _left_out(check, names)]
    lines += [line for note in notes for line in folded(note, names.width)]
    found = [f"{names[check.id]}: {words}" for check in ordered if (words := host_bound(check))]
    lines += [part for line in found for part in folded(line, names.width)]
    return lines + references.summary(ordered, names)


def _passed(check: CheckRecord) -> bool:
    """Whether no failure of its test tells of its limits."""
    return check.verdict.status in (Status.OK, Status.RECORDED, Status.IMPROVED, Status.NOISY)


def _of_check(check: CheckRecord, names: Names) -> list[str]:
    """Metrics of a passed check that are better, or cannot be told from noise."""
    if check.verdict.status in _TOLD_BY_THE_FAILURE:
        return []
    told = [one for one in check.verdict.metrics if one.status in _REMARKABLE or one.clearly_better]
    lines = _launches(check, told, names)
    if not told:
        return lines
    lines += folded(f"{names[check.id]}: {_head(check, told)}", names.width)
    lines += metric_rows(told, width=names.width)
    against, width = references.before(check.reference), names.width - len(_INDENT)
    for judged in told:
        noted = attributions.below_metric(judged, check.verdict, check.attribution, against=against, width=width)
        lines += [f"{_INDENT}{line}" for line in noted]
    return lines + [f"{_INDENT}{line}" for line in folded(_advice(check, told), width)]


def _head(check: CheckRecord, told: Sequence[MetricVerdict]) -> str:
    """What the rows below have in common."""
    if any(one.clearly_better for one in told):
        ahead = "baseline" if check.reference is None else "reference"
        meant = "; record it again if this is intended" if check.reference is None else ""
        return f"faster than its {ahead}{meant}"
    spent = max((one for one in told), key=lambda one: one.engines)
    rounds = units.many(spent.engines, "round" if spent.against else "engine start")
    return f"cannot be distinguished from noise after {rounds}"


def _advice(check: CheckRecord, told: Sequence[MetricVerdict]) -> str:
    """What to do about metrics that are NOISY; empty where none is."""
    noisy = [one for one in told if one.status is Status.NOISY]
    if not noisy:
        return ""
    requests = len(check.session.engines[0].ttft_by_request)
    found = sorted({one.noise.detectable for one in noisy if one.noise is not None})
    ends = " to ".join(dict.fromkeys(units.plain_percent(one) for one in (found[:1] + found[-1:])))
    sees = f"smallest slowdown detected here: {ends}" if found else ""
    remedies = dict.fromkeys(remedy(one, requests) for one in noisy if one.noise is not None)
    return "; ".join(filter(None, (sees, *remedies)))


def warning(status: Status, checks: Sequence[CheckRecord]) -> str:
    """What pytest's summary of warnings says of a test whose checks are NOISY or DRIFTED; empty where none is.

    Args:
        status: which of both.
        checks: of one test.
    """
    found = [(check, one) for check in checks for one in check.verdict.metrics if one.status is status]
    found = [(check, one) for check, one in found if check.verdict.status is status]
    if not found:
        noisy = [check.verdict for check in checks if check.verdict.status is status]
        return next(filter(None, (limits.warning(one, status) for one in noisy)), "")
    check, first = found[0]
    own = f"check {check.id.own!r}: " if check.id.own else ""
    more = f" (and {units.many(len(found) - 1, 'more metric')})" if len(found) > 1 else ""
    said = "cannot be distinguished from noise" if status is Status.NOISY else "got slower over several sessions"
    label = METRICS[first.metric].label
    return f"{own}{status.value} {label} {change_words(first)}, {limit_words(first)}: {said}{more}"


def _launches(check: CheckRecord, told: Sequence[MetricVerdict], names: Names) -> list[str]:
    """That the GPU runs another number of kernels, where its time is judged and has no row of its own."""
    judged = {one.metric for one in check.verdict.metrics} - {one.metric for one in told}
    if AllMetrics.gpu_time.name not in judged:
        return []
    line = "" if check.attribution is None else attributions.launch_line(check.attribution)
    return folded(f"{names[check.id]}: {line}", names.width) if line else []


def _left_out(check: CheckRecord, names: Names) -> list[str]:
    """Engines that do not count, and why: none is left out unseen."""
    reasons = check.session.excluded
    return folded(f"{names[check.id]}: one engine start left out: {in_words(reasons)}", names.width) if reasons else []
