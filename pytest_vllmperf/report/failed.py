"""Why a check fails its test: what got worse and by how much, then why, what else changed, and the other metrics."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict, worst
from pytest_vllmperf.report import attributions, limits, references
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.rows import has_something_to_tell, metric_rows, unchanged_lines
from pytest_vllmperf.report.verdicts import folded, metric_lines
from pytest_vllmperf.verdict.comparability import OTHER_NAME

_INDENT = "  "


def failure_lines(
    record: CheckRecord, changed: Sequence[str], command: str, *, every: bool = False, width: int = WIDTH
) -> list[str]:
    """Why a check fails its test, and what to do about it.

    Args:
        record: the check, judged.
        changed: what differs from the environment that the check is judged by, each in words.
        command: what records this test's baseline.
        every: whether every metric has lines of its own, as with `-v`.
        width: columns of a line; names and commands are never broken.
    """
    of_limits = limits.failure_lines(record.verdict, width)
    if of_limits and not record.verdict.metrics and record.verdict.status in (Status.BEYOND_LIMIT, Status.INVALID):
        reasons = [line for one in record.verdict.reasons for line in folded(one, width)]
        notes = [line for note in record.notes for line in folded(note, width)]
        return [*of_limits, *reasons, *notes]
    lines = _by_baseline(record, changed, command, every=every, width=width)
    first = record.verdict.status is Status.BEYOND_LIMIT
    return [*of_limits, *lines] if first else [*lines, *of_limits]


def _by_baseline(record: CheckRecord, changed: Sequence[str], command: str, *, every: bool, width: int) -> list[str]:
    verdict, told = record.verdict, "; ".join(record.verdict.reasons)
    if verdict.status is Status.NO_BASELINE:
        why = told or f"nothing is recorded for {record.profile}"
        return [*folded(f"NO_BASELINE  {record.name}: {why}. Record it with:", width), f"    {command}"]
    if verdict.status is Status.NOT_COMPARABLE and record.reference is not None:
        return folded(f"NOT_COMPARABLE  {record.name}: with {record.reference.name}: {told}", width)
    if verdict.status is Status.NOT_COMPARABLE:
        anew = command.replace("--vllmperf-update-new", "--vllmperf-update")
        head = f"NOT_COMPARABLE  {record.name}: {told}"
        if told.endswith(OTHER_NAME):  # recording there would overwrite what other machines have recorded
            return [head]
        return [head, "If this is intended, record it again with:", f"    {anew}"]
    if verdict.status is Status.INVALID and verdict.reasons:
        return [f"INVALID  {record.name}: {told}"]
    return [*_judged_lines(record, changed, every=every, width=width), *_acceptance(record, command)]


def _acceptance(record: CheckRecord, command: str) -> list[str]:
    """How to accept a level that was reached step by step; that of a regression is the same, and told in the docs."""
    if record.verdict.status is not Status.DRIFTED:
        return []
    recording = command.replace("--vllmperf-update-new", '--vllmperf-update --vllmperf-reason "..."')
    return ["If the new level is intended, accept it with:", f"    {recording}"]


def _judged_lines(record: CheckRecord, changed: Sequence[str], *, every: bool, width: int) -> list[str]:
    verdict, reference, found = record.verdict, record.reference, record.attribution
    against = references.before(reference)
    decisive = worst([Status.OK, *(judged.status for judged in verdict.metrics)])
    ordered = sorted(verdict.metrics, key=lambda judged: judged.status is not decisive)
    first = ordered[:1] if decisive is not Status.OK or not verdict.limits else []
    others = ordered[len(first) :]
    lines = [f"check {record.id.own!r}:"] if record.id.own else []
    for judged in first:
        lines += metric_lines(judged, requests=_requests(record), width=width)
        lines += attributions.below_metric(judged, verdict, found, against=against, width=width)
    lines += attributions.below_verdicts(verdict, found, against=against, width=width)
    if not every:
        lines += _device_notes(record, others, width)
    lines += changed_lines(changed, against, width)
    lines += _others(record, others, width) if every else _folded_others(others, verdict, width)
    lines += folded(references.in_turns(reference), width) if reference is not None else []
    lines += references.by_baseline(record, width)
    return [*lines, *(line for note in record.notes for line in folded(note, width))]


def _device_notes(record: CheckRecord, metrics: Sequence[MetricVerdict], width: int) -> list[str]:
    """What the device did differently, below the name of the metric whose own lines are folded."""
    lines = []
    against = references.before(record.reference)
    for judged in metrics:
        noted = attributions.below_metric(judged, record.verdict, record.attribution, against=against, width=width)
        lines += [f"{METRICS[judged.metric].label}:", *noted] if noted else []
    return lines


def changed_lines(changed: Sequence[str], against: str = "baseline", width: int = WIDTH) -> list[str]:
    """What differs from what a check is judged by; that nothing does is worth knowing too.

    Args:
        changed: each difference, in words.
        against: what the check is judged by, in a word.
        width: columns of a line.
    """
    if not changed:
        return folded(f"no change of versions, driver or engine arguments against the {against}", width)
    since = "changed since the baseline" if against == "baseline" else f"{against} and engine differ"
    if len(changed) == 1:
        return folded(f"{since}: {changed[0]}", width)
    lines = [line for one in changed for line in folded(one, width - len(_INDENT))]
    return [f"{since}:", *(f"{_INDENT}{line}" for line in lines)]


def _others(record: CheckRecord, metrics: Sequence[MetricVerdict], width: int) -> list[str]:
    """Every other metric with all that is known of it."""
    lines = []
    for judged in metrics:
        lines += metric_lines(judged, requests=_requests(record), width=width)
        against = references.before(record.reference)
        lines += attributions.below_metric(judged, record.verdict, record.attribution, against=against, width=width)
    for judged in record.verdict.information:
        lines += metric_lines(judged, gated=False, width=width)
    return lines


def _folded_others(metrics: Sequence[MetricVerdict], verdict: Verdict, width: int) -> list[str]:
    """A row for each other metric that changed, or does not decide; the others in a line."""
    told = [one for one in metrics if has_something_to_tell(one)]
    rows = metric_rows(told, verdict.information, width=width)
    lines = unchanged_lines([one for one in metrics if not has_something_to_tell(one)], width)
    return [*(["the other metrics (-v shows more):"] if rows else []), *rows, *lines]


def _requests(record: CheckRecord) -> int:
    return len(record.session.engines[0].ttft_by_request)
