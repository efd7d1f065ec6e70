"""Checks that were measured in turns with a reference: how, and what their stored baseline says beside it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report.names import WIDTH, Names
from pytest_vllmperf.report.verdicts import folded, metric_lines

_INDENT = "  "


def in_turns(reference: Reference) -> str:
    """What a check is judged by, and how both shared the device."""
    return f"judged by the ratio to {reference.name}, measured in turns, {reference.way}"


def before(reference: Reference | None) -> str:
    """What a check is compared with, in a word."""
    return "baseline" if reference is None else "reference"


def by_baseline(record: CheckRecord, width: int = WIDTH) -> list[str]:
    """What the stored baseline says of a check that its reference decides; nothing without a baseline.

    Args:
        record: the check.
        width: columns of a line.
    """
    verdict = record.by_baseline
    if verdict is None:
        return []
    why = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    lines = folded(f"stored baseline (does not decide here): {verdict.status.value}{why}", width)
    requests = len(record.session.engines[0].ttft_by_request)
    for judged in verdict.metrics:
        if judged.status is not Status.OK:
            told = metric_lines(judged, requests=requests, width=width - len(_INDENT))
            lines += [f"{_INDENT}{line}" for line in told]
    return lines


def summary(checks: Sequence[CheckRecord], names: Names) -> list[str]:
    """Each reference of a run once, and what the stored baselines say beside it."""
    found = [check.reference for check in checks if check.reference is not None]
    lines = [part for told in dict.fromkeys(map(in_turns, found)) for part in folded(told, names.width)]
    for check in checks:
        told = by_baseline(check, names.width - len(_INDENT))
        if told:
            lines += [f"{names[check.id]}:", *(f"{_INDENT}{line}" for line in told)]
    return lines
